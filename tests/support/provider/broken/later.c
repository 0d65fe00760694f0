// SPDX-License-Identifier: Apache-2.0
//
// A provider for a later version of the library: leasehold-provider-later.so.
#include "src/provider.h"

__attribute__((visibility("default"))) const struct remote_provider leasehold_provider = {
	.abi = PROVIDER_ABI + 1,
	.size = sizeof(leasehold_provider),
	.scheme = "later",
};
