// SPDX-License-Identifier: Apache-2.0
//
// A shared object that is no provider: leasehold-provider-empty.so.
int no_provider(void);

__attribute__((visibility("default"))) int no_provider(void)
{
	return 0;
}
