# SPDX-License-Identifier: Apache-2.0
# Sourced by what runs tests.

# own_shm [OPTION OF UNSHARE...]: sets the array $own_shm to words to put before a command, which
# then finds an empty /dev/shm of its own: what it leaves there, however it ends, is gone with its
# last process, and what lies in the machine's is not seen. Where that is not permitted (it takes
# root; with --map-root-user, user namespaces) it says so, and there are no words.
own_shm() {
	# In a chroot "/" is no mount, so it is /dev/shm alone that is made private.
	local enter='mount --make-private /dev/shm &&
		mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm && exec "$@"'
	own_shm=(unshare "$@" --mount --propagation unchanged sh -c "$enter" sh)
	"${own_shm[@]}" true 2>/dev/null || { own_shm=() && return 1; }
}
