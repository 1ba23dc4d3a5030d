#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The corbel tool against real VMMs under TCG, without the hypervisor (tests/tool/fakehv.c plays /dev/corbel where needed).

Usage: tool_test.py CORBEL GUEST FAKEHV.so
"""
import fcntl, json, os, pty, random, select, shutil, signal, socket, subprocess, sys, tempfile, time

CORBEL, GUEST, FAKEHV = map(os.path.abspath, sys.argv[1:4])
DIR = tempfile.mkdtemp(prefix="corbel-tool-")
RUN, ETC = f"{DIR}/ru,n dir", f"{DIR}/etc"
ENV = dict(os.environ, CORBEL_RUN=RUN, CORBEL_ETC=ETC, CORBEL_ACCEL="tcg", LC_ALL="C",
           ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
failed = 0


def check(cond, what, more=""):
    global failed
    failed += not cond
    print(("ok - " if cond else "not ok - ") + what + ("" if cond else f"\n#   {more}"), flush=True)
    return cond


def corbel(*args, env=None, stdin="", timeout=60):
    p = subprocess.run([CORBEL, *args], env=dict(ENV, **(env or {})), input=stdin, capture_output=True, text=True, timeout=timeout)
    assert "Sanitizer" not in p.stderr and p.returncode >= 0, p.stderr
    return p


def config(name, text="", file=None, kernel=True):
    path = file or f"{DIR}/{name}.cfg"
    with open(path, "w") as f:
        f.write(f'name = "{name}"\nmemory = 48\n' + (f'kernel = "{GUEST}"\n' if kernel else "") + text)
    return path


def guests(*args, env=None):
    return {g["name"]: g for g in json.loads(corbel("list", "--json", *args, env=env).stdout)}


def log(name):
    try:
        return open(f"{RUN}/{name}/console.log").read()
    except OSError:
        return ""


def wait(cond, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if cond():
            return True
        time.sleep(0.1)
    return False


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")")[-1].split()[0] not in "ZX"
    except OSError:
        return False


def fails(p, *texts, code=1):
    return p.returncode == code and all(t in p.stderr for t in texts)


def test_life():
    cfg = config("one", "vcpus = 2\nfunny = 1\n")
    p = corbel("create", cfg)
    check(p.returncode == 0 and "one: started, pid" in p.stdout, "create starts a guest", p.stderr)
    check(f"{cfg}:5: unknown key \"funny\"" in p.stderr, "an unknown key is named in a warning", p.stderr)
    g = guests()["one"]
    check(g["state"] == "running" and g["vcpus"] == 2 and g["memory_bytes"] == 48 << 20 and alive(g["pid"]), "list shows it", g)
    check(wait(lambda: "guest ready" in log("one")), "its console is logged", log("one"))
    check(fails(corbel("create", cfg), "one runs already", "corbel destroy one"), "a second start is refused")

    p = corbel("console", "--timeout=2", "one", stdin="ab")
    check(p.stdout == "<a><b>", "console carries input and output", repr(p.stdout))
    check(corbel("pause", "one").returncode == 0 and guests()["one"]["state"] == "paused", "pause")
    check(corbel("console", "--timeout=1", "one", stdin="c").stdout == "", "a paused guest does not run")
    check(corbel("unpause", "one").returncode == 0 and guests()["one"]["state"] == "running", "unpause")
    check(wait(lambda: "<c>" in log("one")), "it goes on then")
    check(corbel("reboot", "one").returncode == 0 and wait(lambda: log("one").count("guest ready") == 2), "reboot", log("one"))
    p = corbel("shutdown", "--wait", "--timeout=1", "one")
    check(fails(p, "runs on after 1 s", "corbel destroy one"), "shutdown tells when the guest does not listen", p.stderr)
    p = corbel("destroy", "one")
    check(p.returncode == 0 and not alive(g["pid"]) and not os.path.exists(f"{RUN}/one"), "destroy ends it and leaves nothing", p.stderr)
    check(guests() == {}, "list is empty")
    for cmd in "console", "pause", "unpause", "shutdown", "reboot", "destroy":
        check(fails(corbel(cmd, "one"), "there is no guest one"), f"{cmd} of a guest that is not there")
    check(fails(corbel("destroy", "../x"), "not a guest's name"), "a name cannot be a path")


def terminal(name):
    """Attach on a pseudo-terminal; (pid, fd)."""
    pid, fd = pty.fork()
    if not pid:
        os.execve(CORBEL, [CORBEL, "console", name], ENV)
    return pid, fd


def read_for(fd, want, seconds=10):
    got, end = b"", time.time() + seconds
    while want not in got and time.time() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                got += os.read(fd, 4096)
            except OSError:
                break
    return got


def test_console():
    corbel("create", config("con"))
    wait(lambda: "guest ready" in log("con"))
    pid, fd = terminal("con")
    got = read_for(fd, b"guest ready")
    check(b"Ctrl-] detaches" in got and b"guest ready" in got, "attaching shows how to detach and the last lines", got)
    os.write(fd, b"\x03")
    check(b"<\x03>" in read_for(fd, b"<\x03>"), "Ctrl-C goes to the guest")
    check(fails(corbel("console", "con"), "somebody is attached"), "a second one cannot attach")
    os.write(fd, b"\x1d")
    got = read_for(fd, b"Detached")
    _, status = os.waitpid(pid, 0)
    check(b"Detached" in got and status == 0 and guests()["con"]["state"] == "running", "Ctrl-] detaches, the guest runs on", got)
    pid, fd = terminal("con")
    read_for(fd, b"guest ready")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    check(corbel("console", "--timeout=1", "con", stdin="z").stdout.endswith("<z>"), "a killed console is no hindrance")
    pid, fd = terminal("con")
    read_for(fd, b"guest ready")
    corbel("destroy", "con")
    got = read_for(fd, b"ended")
    check(b"The guest has ended" in got and os.waitpid(pid, 0)[1] == 0, "the console tells when the guest ends", got)


def test_dead():
    cfg = config("dead", "device_model_args = [ '-no-reboot' ]\n")
    corbel("create", cfg)
    wait(lambda: "guest ready" in log("dead"))
    pid = guests()["dead"]["pid"]
    corbel("console", "--timeout=2", "dead", stdin="x")
    check(wait(lambda: not alive(pid)), "a triple fault ends the guest (-no-reboot)")
    check("dead" not in guests() and guests("--all")["dead"]["state"] == "ended", "it is listed by --all only, as ended")
    check(fails(corbel("pause", "dead"), "dead has ended"), "commands say that it has ended")
    check(corbel("create", cfg).returncode == 0, "it can be started again")
    pid = guests()["dead"]["pid"]
    os.kill(pid, signal.SIGKILL)
    check(wait(lambda: "dead" not in guests()), "a killed VMM is noticed")
    check(corbel("destroy", "dead").returncode == 0 and guests("--all") == {}, "destroy clears it away")
    corbel("create", cfg)
    pid = guests()["dead"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    t = time.time()
    check(guests()["dead"]["state"] == "unresponsive", "a stopped VMM is shown as unresponsive")
    check(corbel("destroy", "dead").returncode == 0 and not alive(pid), "destroy kills a VMM that does not answer")
    check(time.time() - t < 20, "in bounded time")


def test_pid_reuse():
    sleeper = subprocess.Popen(["sleep", "100"])
    os.makedirs(f"{RUN}/old")
    with open(f"{RUN}/old/vmm.json", "w") as f:
        json.dump({"pid": sleeper.pid, "start_time": 12345, "vcpus": 1, "memory_mib": 1, "config": ""}, f)
    check(guests("--all")["old"]["state"] == "ended", "a pid used again by another process is not taken for the VMM")
    check(corbel("destroy", "old").returncode == 0 and sleeper.poll() is None, "and not killed")
    sleeper.kill()
    sleeper.wait()
    os.makedirs(f"{RUN}/rubbish")
    with open(f"{RUN}/rubbish/vmm.json", "w") as f:
        f.write('{"pid": "x", [')
    check(corbel("list").returncode == 0, "a damaged record does not stop list")
    check(corbel("create", config("rubbish")).returncode == 0 and corbel("destroy", "rubbish").returncode == 0, "nor create")


def test_failures():
    bad = config("bad", "vcpus = 99\n")
    check(fails(corbel("create", bad), f"{bad}:4: vcpus wants a number from 1 to 64"), "a bad value stops with file and line")
    check(fails(corbel("create", f"{DIR}/none.cfg"), "cannot read", "No such file"), "a config that is not there")
    check(fails(corbel("create", "/bin/true"), "holds zero bytes"), "a config that is no text")
    check(fails(corbel("create", config("bad", 'kernel = "/no/kernel"\n', kernel=False)), "kernel /no/kernel: No such file"), "no kernel")
    check(fails(corbel("create", config("bad", "disk = ['/no/disk,raw,xvda,w']\n")), "disk /no/disk: No such file"), "no disk")
    check(fails(corbel("create", config("bad"), env={"PATH": "/nowhere"}), "qemu-system-x86_64 is not in PATH", "install"), "no VMM")
    check(fails(corbel("create", config("bad", "vif = ['bridge=nobr9']\n")), "there is no bridge nobr9", "ip link add"), "no bridge")
    p = corbel("create", config("bad", "device_model_args = [ '-bogus' ]\n"))
    check(fails(p, "did not start", "exit code 1", "last lines of", "-bogus: invalid option"), "the VMM's own words are shown", p.stderr)
    check(guests("--all") == {} and os.path.exists(f"{RUN}/bad/vmm.log"), "only its log stays")
    check(fails(corbel("pause", "bad"), "last start failed"), "commands tell where it is")
    p = corbel("create", "--accel=kvm", config("bad")) if not os.path.exists("/dev/kvm") else None
    check(p is None or fails(p, "/dev/kvm", "modprobe corbel"), "no /dev/kvm")
    check(fails(corbel("create", config("bad"), env={"CORBEL_RUN": DIR + "/" + "x" * 90}), "too long for a socket"), "a long CORBEL_RUN")
    check(fails(corbel("info"), "/dev/corbel is not there", "modprobe corbel"), "no hypervisor")
    check(fails(corbel("nonsense"), "no command \"nonsense\"", code=2), "an unknown command")
    check(fails(corbel("create"), "an argument is missing", "corbel create FILE", code=2), "a missing argument")
    check(fails(corbel("list", "x"), "too many arguments", code=2), "too many arguments")
    check(corbel("list", "--bogus").returncode == 2, "an unknown option")
    check(corbel("--help").returncode == 0 and corbel("top", "--help").returncode == 0, "help")


def test_start():
    config("etc", file=f"{ETC}/etc.cfg")
    config("other", file=f"{ETC}/wrong.cfg")
    check(corbel("start", "etc").returncode == 0 and "etc" in guests(), "start NAME takes NAME.cfg")
    corbel("destroy", "etc")
    check(fails(corbel("start", "wrong"), 'its name is "other", not "wrong"'), "whose name must be the same")
    check(fails(corbel("start", "nobody"), "nobody.cfg", "No such file"), "start of nobody")


def test_disks():
    disks = []
    for i in range(16):
        with open(f"{DIR}/disk{i}", "wb") as f:
            f.truncate(1 << 20)
        disks.append(f"'{DIR}/disk{i},raw,xvd{chr(97 + i)},{'r' if i % 2 else 'w'}'")
    p = corbel("create", config("disks", "disk = [" + ",\n".join(disks) + "]\n"))
    check(p.returncode == 0, "sixteen disks", p.stderr)
    p2 = corbel("create", config("disks2", f"disk = ['{DIR}/disk0,raw,xvda,w']\n"))
    check(fails(p2, "did not start", "lock"), "a disk in use is refused by the VMM, whose reason is shown", p2.stderr)
    corbel("destroy", "disks")
    for fw in "none", "bios":
        p = corbel("create", config("fw", f'firmware = "{fw}"\ndisk = [\'{DIR}/disk0,raw,xvda,w\']\n'))
        check(p.returncode == 0 and wait(lambda: "guest ready" in log("fw")), f'firmware = "{fw}" boots the kernel', p.stderr + log("fw"))
        corbel("destroy", "fw")


def test_vif():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        fcntl.ioctl(s, 0x89a0, b"cbtest0\0")  # SIOCBRADDBR
    except OSError as e:
        print(f"ok - vif # SKIP cannot make a bridge here: {e}")
        return
    try:
        p = corbel("create", config("net", "vif = ['bridge=cbtest0', 'bridge=cbtest0,mac=52:54:00:01:02:03']\n"))
        ports = os.listdir("/sys/class/net/cbtest0/brif")
        check(p.returncode == 0 and len(ports) == 2, "two vifs are on their bridge", p.stderr + str(ports))
        cmd = open(f"/proc/{guests()['net']['pid']}/cmdline").read() if p.returncode == 0 else ""
        check("mac=52:54:00:01:02:03" in cmd and cmd.count("mac=52:54:00:") == 2, "with MAC addresses", cmd)
        corbel("destroy", "net")
        check(wait(lambda: not os.listdir("/sys/class/net/cbtest0/brif"), 5), "the taps go with the guest")
        check(fails(corbel("create", config("net", "vif = ['bridge=lo']\n")), "on lo"), "what is no bridge is told")
    finally:
        fcntl.ioctl(s, 0x89a1, b"cbtest0\0")  # SIOCBRDELBR


def test_races():
    cfg = config("race")
    ps = [subprocess.Popen([CORBEL, "create", cfg], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(5)]
    out = [p.communicate(timeout=60) for p in ps]
    codes = sorted(p.returncode for p in ps)
    check(codes == [0, 1, 1, 1, 1], "of five that start it at once, one wins", str(codes) + str(out))
    ps = [subprocess.Popen([CORBEL, "destroy", "race"], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    out = [p.communicate(timeout=60) for p in ps]
    check(sorted(p.returncode for p in ps) == [0, 1, 1] and guests("--all") == {}, "of three that destroy it, one does", str(out))
    random.seed(1)
    lost = []
    for i in range(12):
        p = subprocess.Popen([CORBEL, "create", cfg], env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.random() * 0.3)
        p.kill()
        p.wait()
        time.sleep(0.3)
        running = vmms()
        known = [g["pid"] for g in guests().values()]
        if sorted(running) != sorted(known):
            lost.append((running, known))
        if known:
            corbel("destroy", "race")
    check(not lost, "a tool killed at any moment of a start loses no VMM", lost)


def vmms():
    """pids of VMMs of this test's run directory"""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cmd = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if cmd.startswith("/") and "qemu-system" in cmd.split("\0")[0] and DIR in cmd:
            found.append(int(pid))
    return found


def test_hypervisor():
    env = {"LD_PRELOAD": FAKEHV, "FAKEHV_RECORD": f"{RUN}/hyp/vmm.json", "FAKEHV_SCHED": f"{DIR}/sched"}

    def sched():
        try:
            with open(f"{DIR}/sched") as f:
                text = f.read()
            os.unlink(f"{DIR}/sched")
            return text
        except OSError:
            return ""

    p = corbel("create", config("hyp", "vcpus = 2\ncpu_weight = 512\ncpus = ['0', '^0']\ncap = 50\n"), env=env)
    check(p.returncode == 0 and sched() == "12 512 1 50\n13 512 fffffffffffffffe 50\n", "weight, CPUs and cap are set at start", p.stderr)
    i = json.loads(corbel("info", "--json", env=env).stdout)
    want = {"version": "0.1", "backend": "svm", "cpus": 2, "memory_total_bytes": 1 << 30, "pool_total_bytes": 1 << 24,
            "pool_free_bytes": 1 << 23, "pool_promised_bytes": 1 << 22, "vms": 2, "vcpus": 4}
    check(want.items() <= i.items(), "info --json", i)
    check("back end    svm" in corbel("info", env=env).stdout, "info")
    g = guests(env=env)
    check(list(g) == ["dom0", "hyp"] and g["hyp"]["id"] == 3 and g["hyp"]["cpu_time_ns"] == 7 * 10**9 and g["dom0"]["id"] == 0,
          "list --json joins the hypervisor's VMs and guests", g)
    out = corbel("list", env=env).stdout.splitlines()
    check(len(out) == 3 and out[2].split() == ["hyp", "3", "running", "2", "48", "7.0"], "list", out)
    v = json.loads(corbel("vcpu-list", "--json", "hyp", env=env).stdout)
    check(len(v) == 2 and v[1]["vcpu"] == 1 and v[1]["vm"] == "hyp" and v[0]["state"] == "running" and v[0]["cpus"] == "all", "vcpu-list", v)
    check(len(corbel("vcpu-list", env=env).stdout.splitlines()) == 5, "vcpu-list of all")
    check(corbel("sched", "--weight=2048", "--vcpu=1", "hyp", env=env).returncode == 0 and sched() == "13 2048 0 0\n", "sched of one vCPU")
    check(corbel("sched", "--cpus=0-1", "--cap=100", "hyp", env=env).returncode == 0 and sched() == "12 0 3 100\n13 0 3 100\n", "sched")
    check(fails(corbel("sched", "--cpus=1", "dom0", env=env), "not permitted"), "dom0's vCPUs stay")
    check(fails(corbel("sched", "--vcpu=7", "--cap=5", "hyp", env=env), "no vCPU 7; it has 2"), "no such vCPU")
    check(fails(corbel("sched", "--cap=5", env=env), "name a guest"), "sched wants a name to set something")
    check(fails(corbel("sched", "nobody", env=env), "there is no VM nobody"), "sched of nobody")
    check("scheduler fair" in corbel("sched", "hyp", env=env).stdout, "sched shows")
    s = json.loads(corbel("stat", "--json", "hyp", env=env).stdout)
    vcpus = [{"vcpu": i, "exits_total": 12 + i, "exits": {"intr": 2, "hlt": 10 + i}} for i in (0, 1)]
    check(s == [{"vm": "hyp", "vm_id": 3, "exits_total": 25, "exits": {"intr": 4, "hlt": 21}, "vcpus": vcpus}], "stat, of all and each vCPU", s)
    out = corbel("stat", env=env).stdout
    check("dom0: 25 exits\n" in out and ["hlt", "21", "10", "11"] in [line.split() for line in out.splitlines()], "stat of all", out)
    check(corbel("dmesg", env=env).stdout == "(hv) first line\n(hv) second line\n", "dmesg")
    check(json.loads(corbel("dmesg", "--json", env=env).stdout)["lines"] == ["(hv) first line", "(hv) second line"], "dmesg --json")
    p = corbel("debug-dump", env=env)
    check(p.returncode == 0 and all(x in p.stdout for x in ("== corbel info", "model name", "dom0: 25 exits", "(hv) second line")) and sched() == "key q\nkey m\nkey i\n",
          "debug-dump", p.stdout + p.stderr)
    t = json.loads(corbel("top", "--json", "-n1", env=env).stdout)
    check(len(t["vms"]) == 2 and len(t["cpu_busy_percent"]) == 2, "top --json", t)
    check("hyp" in corbel("top", "-b", "-n1", env=env).stdout, "top in batch mode")
    check(fails(corbel("info", env=dict(env, FAKEHV_ABI="1")), "ABI 99"), "another ABI is told")
    check(fails(corbel("list", env=dict(env, FAKEHV_SHORT="1")), "different versions"), "another size of answers is told")
    corbel("destroy", "hyp")


def main():
    os.makedirs(ETC)
    try:
        for t in (test_life, test_console, test_dead, test_pid_reuse, test_failures, test_start, test_disks, test_vif, test_races,
                  test_hypervisor):
            print(f"# {t.__name__}")
            try:
                t()
            except Exception as e:  # a broken test is a failed one; the others go on
                check(False, t.__name__, repr(e))
        check(not vmms(), "no VMM is left", vmms())
    finally:
        for pid in vmms():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(DIR)
    return failed != 0


sys.exit(main())
