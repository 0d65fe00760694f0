// SPDX-License-Identifier: Apache-2.0
//
// A provider whose table has more in it than the library knows of: leasehold-provider-larger.so.
#include "src/provider.h"

__attribute__((visibility("default"))) const struct remote_provider leasehold_provider = {
	.abi = PROVIDER_ABI,
	.size = sizeof(leasehold_provider) + sizeof(void *),
	.scheme = "larger",
};
