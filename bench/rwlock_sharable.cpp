// SPDX-License-Identifier: Apache-2.0
//
// rwlock_sharable.cpp: Boost.Interprocess's sharable mutex for `lease-bench rwlock --case mix`,
// behind C functions: a call more, as the others are called in a shared library. Built if the
// header is there.
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>

using boost::interprocess::interprocess_sharable_mutex;

extern "C" {

void sharable_create(void *at, std::size_t size);
void sharable_lock(void *at, bool writes);
void sharable_unlock(void *at, bool writes);

// The data that it protects comes 512 bytes after it.
void sharable_create(void *at, std::size_t size)
{
	static_assert(sizeof(interprocess_sharable_mutex) <= 512, "it would lie on its data");
	if (size < 1024)
		std::abort();
	new (at) interprocess_sharable_mutex;
}

void sharable_lock(void *at, bool writes)
{
	auto *mutex = static_cast<interprocess_sharable_mutex *>(at);

	writes ? mutex->lock() : mutex->lock_sharable();
}

void sharable_unlock(void *at, bool writes)
{
	auto *mutex = static_cast<interprocess_sharable_mutex *>(at);

	writes ? mutex->unlock() : mutex->unlock_sharable();
}
}
