// SPDX-License-Identifier: Apache-2.0
#include "arena/sys/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

uint64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); // fails only for an unknown clock
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int hex_value(int digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

static int read_boot_id(uint8_t boot_id[16])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char text[64] = "";
	size_t nibbles = 0;

	if (!file)
		return -errno;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	memset(boot_id, 0, 16);
	for (const char *c = text; *c && nibbles < 32; c++) {
		const int value = hex_value(*c);

		if (value < 0)
			continue; // a dash
		boot_id[nibbles / 2] = (uint8_t)(boot_id[nibbles / 2] << 4 | value);
		nibbles++;
	}
	return nibbles == 32 ? 0 : -EIO;
}

int clock_namespace(uint64_t *ret_namespace)
{
	struct stat status;

	if (stat("/proc/self/ns/time", &status) == 0)
		*ret_namespace = status.st_ino;
	else if (errno == ENOENT)
		*ret_namespace = 0;
	else
		return -errno;
	return 0;
}

int clock_identify(struct clock_identity *ret_identity)
{
	struct clock_identity identity = { .time_namespace = 0 };
	int error = read_boot_id(identity.boot_id);

	if (!error)
		error = clock_namespace(&identity.time_namespace);
	if (error)
		return error;
	*ret_identity = identity;
	return 0;
}
