// SPDX-License-Identifier: Apache-2.0
//
// peer_boost.cpp: Boost.Interprocess's interprocess_mutex, behind C functions: a call more, as the
// others are called in a shared library. Built if the header is there.
#include <boost/interprocess/sync/interprocess_mutex.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>

using boost::interprocess::interprocess_mutex;

extern "C" {

void boost_mutex_create(void *at, std::size_t size);
void boost_mutex_lock(void *at);
void boost_mutex_unlock(void *at);

void boost_mutex_create(void *at, std::size_t size)
{
	if (size < sizeof(interprocess_mutex))
		std::abort();
	new (at) interprocess_mutex;
}

void boost_mutex_lock(void *at)
{
	static_cast<interprocess_mutex *>(at)->lock();
}

void boost_mutex_unlock(void *at)
{
	static_cast<interprocess_mutex *>(at)->unlock();
}
}
