# SPDX-License-Identifier: GPL-2.0-only
"""The hypervisor's source as a house: rooms, their sizes, and who calls whom. For `make size` and the test `style`."""
import collections
import glob
import os
import re
import subprocess

# Rooms from the ground up. A room may use those of a lower storey, and itself.
STOREY = {'lib': 0, 'boot': 1, 'emul': 1, 'mm': 2, 'cpu': 3, 'console': 4, 'iommu': 4, 'sched': 4, 'guest': 5, 'svm': 6, 'vmx': 6,
          'dom0': 7, 'main': 8}
# What the loader's entry calls, and plain data of the boot code that any room may read.
ENTRY_POINTS = {'hv_main'}
PLAIN_DATA = {'boot/boot.h', 'boot/image.h', 'boot/options.h', 'hv/abi.h', 'hv/abi_error.h', 'hv/abi_msr.h', 'hv/abi_nested.h', 'hv/abi_pool.h', 'hv/abi_vm.h'}

STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
OPERATOR = r'[-+*/%&|^=<>!]=|<<=|>>=|<<|>>|->|\+\+|--|&&|\|\||[^\s\w]'
TOKEN = re.compile(rf'{STRING}|[A-Za-z_]\w*|\d[\w.]*|{OPERATOR}')


def room_of(path):
    """Room of a source, header or object, by its path from the top: boot/x, hv/ROOM/x, hv/main.c."""
    parts = path.split('/')
    if parts[0] == 'boot':
        return 'boot'
    return parts[1] if len(parts) > 2 else 'main'


def sources(*kinds, within=('boot', 'hv')):
    return sorted(f for d in within for k in kinds for f in glob.glob(f'{d}/**/*.{k}', recursive=True))


def read(path):
    with open(path, errors='replace') as f:
        return f.read()


def without_comments(path, text):
    if path.endswith(('.asm', '.inc')):
        return re.sub(r';.*', '', text)
    return re.sub(r'//.*', '', re.sub(r'/\*.*?\*/', lambda m: '\n' * m.group().count('\n'), text, flags=re.S))


def functions(text):
    """(name, lines) of each function; their braces stand in the first column."""
    lines = text.split('\n')
    out = []
    for i, line in enumerate(lines):
        if line != '{':
            continue
        end = next((k for k in range(i, len(lines)) if lines[k].startswith('}')), i)
        start = i
        while start and re.match(r'\S|\t', lines[start - 1]) and not lines[start - 1].startswith(('#', '}', '/*', ' *')) and \
                not lines[start - 1].endswith((';', '*/')):
            start -= 1
        name = re.search(r'(\w+)\(', ' '.join(lines[start:i]))
        if name:
            out.append((name.group(1), '\n'.join(lines[start:end + 1])))
    return out


class Size:
    def __init__(self):
        self.files = self.lines = self.code = self.tokens = self.asserts = 0
        self.functions = []

    def add(self, path):
        text = read(path)
        bare = without_comments(path, text)
        self.files += 1
        self.lines += text.count('\n')
        self.code += sum(bool(line.strip()) for line in bare.split('\n'))
        self.tokens += len(TOKEN.findall(bare))
        self.asserts += len(re.findall(r'\b(?:BUG_ON|ASSERT\w*)\s*\(', text))
        if path.endswith('.c'):
            self.functions += [(body.count('\n') + 1, name, path) for name, body in functions(text)]

    def assert_rate(self):
        return 1000 * self.asserts / max(self.lines, 1)

    def row(self, name):
        lengths = sorted(n for n, _, _ in self.functions)
        p90 = lengths[len(lengths) * 9 // 10] if lengths else 0
        longest = max(self.functions, default=(0, '-', ''))
        return f'{name:10} {self.files:5} {self.lines:6} {self.code:6} {self.tokens:7} {p90:4} {longest[0]:4} ' \
               f'{longest[1]:28} {self.assert_rate():5.1f}'


def sizes():
    """Size of each room, and of all together."""
    rooms, whole = {}, Size()
    for f in sources('c', 'h', 'asm', 'inc'):
        rooms.setdefault(room_of(f), Size()).add(f)
        whole.add(f)
    return rooms, whole


# What is not the hypervisor, in the same measure.
OTHERS = {'corbel.ko': 'dom0/kmod', 'tool': 'tools/corbel', 'tests': 'tests'}


def print_sizes():
    rooms, whole = sizes()
    print('room       files  lines   code  tokens  p90  max longest function             asserts/1000 lines')
    for name in sorted(rooms, key=lambda r: (STOREY.get(r, 9), r)):
        print(rooms[name].row(name))
    print(whole.row('boot, hv'))
    for name, within in OTHERS.items():
        other = Size()
        for f in sources('c', 'h', 'asm', 'inc', within=[within]):
            other.add(f)
        print(other.row(name))


def calls(build):
    """{object: {object: [symbols]}} from what the objects define and lack, entry points left out."""
    defined, wanted = {}, {}
    for path in glob.glob(f'{build}/boot/*.o') + glob.glob(f'{build}/hv/**/*.o', recursive=True):
        name = os.path.relpath(path, build)
        wanted[name] = set()
        out = subprocess.run(['nm', '-P', path], stdout=subprocess.PIPE, text=True, check=True).stdout
        for symbol, kind in (line.split()[:2] for line in out.splitlines()):
            if kind == 'U':
                wanted[name].add(symbol)
            elif kind.isupper():
                defined[symbol] = name
    graph = {name: {} for name in wanted}
    for name, symbols in wanted.items():
        for s in sorted(symbols - ENTRY_POINTS):
            if defined.get(s, name) != name:
                graph[name].setdefault(defined[s], []).append(s)
    return graph


def circles(graph):
    """Sets of objects that all reach each other (Tarjan), two members at least."""
    number, low, stack, out = {}, {}, [], []

    def visit(v):
        number[v] = low[v] = len(number)
        stack.append(v)
        for w in graph[v]:
            if w not in number:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], number[w])
        if low[v] == number[v]:
            at = stack.index(v)
            out.append(stack[at:])
            del stack[at:]

    for v in graph:
        if v not in number:
            visit(v)
    return sorted((sorted(c) for c in out if len(c) > 1), key=len, reverse=True)


def may_use(user, used):
    a, b = room_of(user), room_of(used)
    if a == b or used in PLAIN_DATA:
        return True
    if a == 'emul':
        return b == 'lib'
    return STOREY[b] < STOREY[a]


def arrows_up(graph):
    """Calls, and includes, of a room that lies no lower."""
    out = [f'{a} calls {" ".join(s)} of {b}' for a in graph for b, s in graph[a].items() if not may_use(a, b)]
    for f in sources('c', 'h'):
        out += [f'{f} includes {h}' for h in re.findall(r'#include "((?:boot|hv)/[^"]+)"', read(f)) if not may_use(f, h)]
    return out


def choices(path):
    """Ternaries that are nested or stand in an argument; not those of a log line, which pick a word, nor `a ?: b`."""
    text = re.sub(STRING, '0', without_comments(path, read(path)))
    out = []
    for m in re.finditer(r'[^;{}]*\?(?!:)[^;{}]*[;{}]', text):
        said = m.group()
        if said.lstrip().startswith('#') or re.search(r'\b(log_\w+|hv_snprintf|panic|boot_fail|vmcs_log_refusal)\(', said):
            continue
        before = said[:re.search(r'\?(?!:)', said).start()]
        deep, at = 0, len(before)
        while at and deep < 1: # to the bracket that the choice stands in
            at -= 1
            deep += {'(': 1, ')': -1}.get(before[at], 0)
        inside = deep == 1 and re.search(r'(\w+)$', before[:at])
        if len(re.findall(r'\?(?!:)', said)) > 1 or (inside and inside.group(1) not in ('if', 'while', 'for', 'return', 'switch')):
            out.append(f'{path}:{text[:m.end()].count(chr(10)) + 1}')
    return out


# Structures whose members others lay out: the hardware, boot loaders, Linux, KVM. They are there whether used or not.
LAYOUTS = {'boot/linux.c', 'boot/linux.h', 'boot/multiboot2.h', 'hv/abi.h', 'hv/abi_error.h', 'hv/abi_msr.h', 'hv/abi_nested.h', 'hv/abi_pool.h', 'hv/abi_vm.h', 'hv/cpu/cpu.c', 'hv/dom0/state.c',
           'hv/guest/lapic.h', 'hv/guest/lazy.c', 'hv/guest/pv.c', 'hv/svm/vmcb.h', 'hv/vmx/caps.h'}
WORD = re.compile(r'[A-Za-z_]\w*')


def members(text):
    """Names of the members of all structures and unions, nested ones, too."""
    found = True
    while found:
        found = re.search(r'\b(?:struct|union)\s*\w*\s*\{([^{}]*)\}', text)
        if found:
            yield from re.findall(r'(\w+)\s*(?:\[[^\]]*\])*\s*(?::\s*\d+\s*)?[;,]', found.group(1))
            text = text[:found.start()] + 'inner' + text[found.end():]


def unused():
    """Macros, functions of headers, and members of structures that boot/ and hv/ define and nobody but tests uses."""
    texts = {f: re.sub(STRING, '', without_comments(f, read(f)))
             for f in sources('c', 'h', 'asm', 'inc', within=('boot', 'hv', 'dom0', 'tools'))}
    words = collections.Counter(w for t in texts.values() for w in WORD.findall(t))
    out = []
    for f, text in texts.items():
        if not f.startswith(('boot/', 'hv/')):
            continue
        names = [('macro', n) for n in re.findall(r'^\s*[#%]define\s+(\w+)', text, re.M)]
        if f.endswith('.h'):
            names += [('function', n) for n, _ in functions(text)]
        if f not in LAYOUTS:
            names += [('member', n) for n in members(text)]
        out += [f'{kind} {n} of {f}' for kind, n in names if words[n] == 1]
    raised = ' '.join(texts[f] for f in texts if f.startswith('hv/') and f.endswith('.c'))
    reasons = re.search(r'enum corbel_exit_reason \{([^}]*)\}', texts['hv/abi.h']).group(1)
    return out + [f'exit reason {n}' for n in re.findall(r'CORBEL_\w+', reasons) if n not in raised]


# What LLVM calls an access to address space 1 that is neither volatile nor atomic, a copy, and a cast that hides whose memory it is.
PLAIN_ACCESS = re.compile(r'(?:load|store) (?!volatile|atomic)[^@]*addrspace\(1\)(?:\*| [%@]\w+)(?: [^,]+)?, align|@llvm\.mem\w+\.[\w.]*p1'
                          r'|addrspacecast [^@]*addrspace\(1\)\*? \S+ to ')


def plain_accesses(command, path, text=None, cwd=None):
    """Where C code, compiled by clang with this command, reaches what is `__shared` by a plain access: what C may do twice, or by parts."""
    r = subprocess.run([*command, '-w', '-DCHECK_SHARED', '-O0', '-gline-tables-only', '-S', '-emit-llvm', '-o', '-', '-x', 'c',
                        '-' if text else os.path.abspath(path)], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    if r.returncode:
        return [f'{path} does not compile: {r.stderr[:1000]}']
    line = dict(re.findall(r'^(!\d+) = !DILocation\(line: (\d+)', r.stdout, re.M))
    out, function = [], ''
    for at in r.stdout.split('\n'):
        function = at.partition('@')[2].partition('(')[0] if at.startswith('define ') else function
        if at.startswith('  ') and PLAIN_ACCESS.search(at):
            out.append(f'{path}: {function}(), line {line.get(at.split()[-1], "?")}')
    return out


def shared_names(headers):
    """Members, functions and variables of headers that lead to what is `__shared`."""
    return {n for h in headers for n in re.findall(r'__shared \*(\w+)(?:;|\(.*\);)', without_comments(h, read(h)))}


def read_twice(paths, names):
    """Functions that read the same `__shared` word twice, by these names or their own: what was checked need not be what is used."""
    out = []
    for f in paths:
        text = without_comments(f, read(f))
        here = names | set(re.findall(r'__shared \*(\w+)', text))
        for name, body in functions(text):
            words = collections.Counter(re.sub(r'\s', '', w) for w in re.findall(r'READ_ONCE\(((?:[^()]|\([^()]*\))*)\)', body))
            out += [f'{f}: {name}() reads {w} twice' for w, n in words.items() if n > 1 and here & set(re.findall(r'(\w+)(?:->|\[)', w))]
    return out


if __name__ == '__main__':
    print_sizes()
