/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' network devices: a tap device on a bridge of dom0. */
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int add_to_bridge(const char *bridge, const char *ifname)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	struct ifreq r = {0};

	if (s < 0)
		return -errno;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", bridge);
	r.ifr_ifindex = if_nametoindex(ifname);
	if (ioctl(s, SIOCBRADDIF, &r))
		err = -errno;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
	if (!err && ioctl(s, SIOCGIFFLAGS, &r))
		err = -errno;
	r.ifr_flags |= IFF_UP;
	if (!err && ioctl(s, SIOCSIFFLAGS, &r))
		err = -errno;
	close(s);
	return err;
}

int tap_open(const char *bridge, char ifname[16])
{
	struct ifreq r = {.ifr_name = "corbel%d", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd, err;

	if (!if_nametoindex(bridge)) {
		fail("vif: there is no bridge %s; make it with `ip link add %s type bridge; ip "
		     "link set %s up', or "
		     "name another one with "
		     "vif = [ 'bridge=...' ]",
		     bridge, bridge, bridge);
		return -1;
	}
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fail("vif: /dev/net/tun: %s; %s", strerror(errno),
		     errno == EACCES ? "run as root" : "try `modprobe tun'");
		return -1;
	}
	if (ioctl(fd, TUNSETIFF, &r)) {
		fail("vif: cannot make a tap device: %s%s", strerror(errno),
		     errno == EPERM ? "; run as root" : "");
		close(fd);
		return -1;
	}
	snprintf(ifname, 16, "%s", r.ifr_name);
	err = add_to_bridge(bridge, ifname);
	if (err) {
		fail("vif: cannot put %s on %s: %s%s", ifname, bridge, strerror(-err),
		     err == -EOPNOTSUPP ? "; it is not a bridge"
		     : err == -EPERM	? "; run as root"
					: "");
		close(fd);
		return -1;
	}
	return fd;
}
