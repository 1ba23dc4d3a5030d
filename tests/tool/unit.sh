#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Guests' units, and what becomes of guests at the end, by a systemd of its own, which runs as a user's: as process 1 of a PID namespace, with
# a /run of its own. The control groups that it is in are all that it sees of their hierarchies.
# usage: unit.sh TOOL GUEST UNITS FAKEHV GROUP...  Prints what is said below, a line each.
tool=$1 guest=$2 units=$3 fakehv=$4
mount --make-rprivate / && mount -t tmpfs tmpfs /run || exit 1
for group in "${@:5}"; do mount --bind "$group" "${group%/*}" || exit 1; done
export XDG_RUNTIME_DIR=/run/user HOME=/run/home
unset DBUS_SESSION_BUS_ADDRESS
mkdir -p /run/systemd/system $HOME/.config/systemd/user /run/etc /run/corbel /run/bin
mkdir -m 700 $XDG_RUNTIME_DIR
cat > /run/tool <<END
#!/bin/sh
echo "\$1" >> /run/calls
export PATH=/run/bin:$PATH CORBEL_RUN=/run/corbel CORBEL_ETC=/run/etc CORBEL_ACCEL=tcg ASAN_OPTIONS=detect_leaks=0
[ "\$1" != metrics ] || export LD_PRELOAD=$fakehv ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0
exec "$tool" "\$@"
END
printf '#!/bin/sh\nexec /usr/bin/systemd-run --user "$@"\n' > /run/bin/systemd-run
chmod 755 /run/tool /run/bin/systemd-run
printf 'name = "g"\nmemory = 48\nkernel = "%s"\non_poweroff = "restart"\n' "$guest" > /run/etc/g.cfg
printf 'name = "l"\nmemory = 48\nkernel = "%s"\n' "$guest" > /run/etc/l.cfg
printf 'name = "d"\nmemory = 48\nkernel = "%s"\n' "$guest" > /run/etc/d.cfg
for unit in corbel@.service corbel.service corbel-metrics.service corbel-metrics.timer; do
	sed -e 's,/usr/sbin/corbel,/run/tool,g; s/systemctl /systemctl --user /; s/--timeout=60/--timeout=20/; s,/var/lib/prometheus/node-exporter,/run/prom,' -e '/^Wants=/d; /^After=/d; /^ConditionPathExists/d' "$units/$unit" > $HOME/.config/systemd/user/$unit
done

systemctl() { command systemctl --user "$@" > /dev/null 2>&1; }
pid() { sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' /run/corbel/g/vmm.json 2> /dev/null; }
ready() { grep -c 'guest ready' /run/corbel/g/console.log 2> /dev/null; }
runs() { kill -0 "$(pid)" 2> /dev/null; }
until_true() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; return 1; }
stands() { [ "$(command systemctl --user is-active corbel@g)" = "$1" ]; }
# What does not come is waited for so long.
stays() { until_true stands "$1" && sleep 2 && stands "$1"; }
is_new() { runs && [ "$(pid)" != "$first" ] && [ "$(ready)" = 2 ]; }
# Started anew, it has run for long enough to be started again.
start() {
	systemctl reset-failed corbel@g
	rm -f /run/corbel/g/console.log
	systemctl start corbel@g && until_true eval '[ "$(ready)" = 1 ]' && sleep 1
	first=$(pid)
}
turn_off() { printf q | /run/tool console --timeout=1 ${1-g} > /dev/null 2>&1; }
# QEMU's reason for the end of its guest: 6, that itself; what is killed has another, or none.
by_itself() { grep -q 'shutdown_request reason=6' "/run/corbel/$1/vmm.log"; }
tell() { "${@:2}" && echo "$1"; }

/usr/lib/systemd/systemd --user > /dev/null 2>&1 &
manager=$!
until_true test -S $XDG_RUNTIME_DIR/systemd/private || exit 1
systemctl show || exit 1
echo there
start; turn_off; tell again until_true is_new; tell active stands active
tell unasked test "$(grep -c shutdown /run/calls)" = 0
{ sleep 1; turn_off; } & systemctl stop corbel@g; tell stopped stays inactive; tell asked grep -q shutdown /run/calls
start; ! /run/tool rename g h > /dev/null 2>&1 && tell named runs; /run/tool destroy g > /dev/null; tell destroyed stays inactive
start; kill -9 "$first"; tell killed stays failed
sed -i s/restart/destroy/ /run/etc/g.cfg
start; turn_off; tell off stays inactive
echo 'vcpus = 999' >> /run/etc/g.cfg; start; tell wrong stays failed

# Prometheus' node_exporter, of which there is a unit without a program; then its directory is there.
printf '[Service]\nExecStart=/bin/sleep 1000\n' > $HOME/.config/systemd/user/prometheus-node-exporter.service
systemctl enable corbel-metrics.timer
systemctl start prometheus-node-exporter; tell useless eval '[ "$(command systemctl --user is-active corbel-metrics.timer)" = inactive ]'
mkdir -m 755 /run/prom
systemctl restart prometheus-node-exporter; tell metrics until_true grep -qs '^corbel_domain_info_virtual_cpus{domain="dom0"} 2$' /run/prom/corbel.prom
tell whole test "$(ls /run/prom)" = corbel.prom
systemctl stop prometheus-node-exporter; tell with eval '[ "$(command systemctl --user is-active corbel-metrics.timer)" = inactive ]'

# The end: a login's scope, as all that nothing orders, is ended at once.
sed -i '/^vcpus = /d; s/destroy/restart/' /run/etc/g.cfg
start
systemctl start corbel.service
systemctl start corbel@d # which does not listen
/usr/bin/systemd-run --user --quiet --scope --slice=user.slice /run/tool create /run/etc/l.cfg > /dev/null 2>&1
until_true grep -qs 'guest ready' /run/corbel/l/console.log
calls=$(grep -c shutdown /run/calls)
{
	until_true eval '[ "$(grep -c shutdown /run/calls)" -gt "$calls" ]'
	for _ in 1 2 3 4 5; do sleep 1; turn_off l; turn_off g; done
} &
began=$SECONDS
systemctl exit
wait $manager
tell login by_itself l; tell unit by_itself g
tell cut eval '[ ! -e /run/corbel/d/vmm.json ] && ! by_itself d'; tell once test $((SECONDS - began)) -lt 39 # twenty seconds each would be forty
