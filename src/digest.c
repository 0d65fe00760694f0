// SPDX-License-Identifier: Apache-2.0
#include "src/digest.h"

#include "arena/error.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/sha.h>
#include <pthread.h>

static __typeof__(&SHA256) sha256;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// The one-shot call is the same in both versions.
static void load(void)
{
	void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);

	if (!library)
		library = dlopen("libcrypto.so.1.1", RTLD_NOW | RTLD_LOCAL);
	if (library)
		sha256 = (__typeof__(sha256))dlsym(library, "SHA256");
}

int digest_sha256(const void *bytes, size_t size, uint8_t digest[DIGEST_SIZE])
{
	pthread_once(&once, load);
	if (!sha256 || !sha256(bytes, size, digest))
		return error_detail(-ENOTSUP, "a key that long is hashed, and there is no "
					      "libcrypto (OpenSSL) to do it");
	return 0;
}
