// SPDX-License-Identifier: Apache-2.0
//
// digest.h: SHA-256 by OpenSSL's libcrypto, which is loaded when first asked for: few keys are so
// long that they need it, and the library is not to be a dependency of programs without them.
#ifndef SRC_DIGEST_H
#define SRC_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32

// 0, or -ENOTSUP where there is no libcrypto (detail set).
int digest_sha256(const void *bytes, size_t size, uint8_t digest[DIGEST_SIZE]);

#endif
