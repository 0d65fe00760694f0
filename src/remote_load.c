// SPDX-License-Identifier: Apache-2.0
//
// Providers of named locks that are loaded: found by the URL's scheme, once in a process, and never
// unloaded, since threads run in them.
#include "src/remote.h"

#include "arena/error.h"
#include "arena/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRECTORY_VARIABLE "LEASEHOLD_PROVIDERS"
#define SCHEME_MOST 32u
#define PATH_SIZE 4096u

struct loaded {
	struct provider provider;
	struct loaded *next;
	char scheme[SCHEME_MOST + 1];
};

static struct loaded *all_loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
	lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

// Without room for them a child may find the lock taken by a thread that it has not got.
static void set_hooks(void)
{
	(void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

// ---------------------------------------------------------------------------------------------
// Where it is

static bool is_letter(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

// RFC 3986, 3.1: so there is no '/' in it, and it does not begin with a '.'.
static bool is_scheme(const char *text, size_t length)
{
	if (length == 0 || length > SCHEME_MOST || !is_letter(text[0]))
		return false;
	for (size_t i = 1; i < length; i++) {
		if (!is_letter(text[i]) && !(text[i] >= '0' && text[i] <= '9') && text[i] != '+' &&
		    text[i] != '-' && text[i] != '.')
			return false;
	}
	return true;
}

// Of the shared library's own file, so that an installation can be moved. Not where it is linked
// statically: then that file is the program's, and its name what whoever started it has said.
static bool is_beside_library(char directory[PATH_SIZE])
{
	static const char below[] = "/leasehold/providers";
	struct link_map *map = NULL;
	const char *end;
	Dl_info info;

	if (!dladdr1((const void *)(uintptr_t)&all_loaded, &info, (void **)&map, RTLD_DL_LINKMAP) ||
	    !map || map->l_name[0] != '/')
		return false;
	end = strrchr(map->l_name, '/');
	return snprintf(directory, PATH_SIZE, "%.*s%s", (int)(end - map->l_name), map->l_name,
			below) < (int)PATH_SIZE;
}

static bool make_path(char path[PATH_SIZE], const char *directory, const char *scheme)
{
	return snprintf(path, PATH_SIZE, "%s/leasehold-provider-%s.so", directory, scheme) <
	       (int)PATH_SIZE;
}

// The file that is to be loaded. If none is there, the one that was looked for last.
static int find(const char *scheme, char path[PATH_SIZE])
{
	const char *given = secure_getenv(DIRECTORY_VARIABLE);
	char directory[PATH_SIZE];

	if (given && given[0])
		return make_path(path, given, scheme) ? 0 : -ENAMETOOLONG;
	if (is_beside_library(directory) && make_path(path, directory, scheme) &&
	    access(path, F_OK) == 0)
		return 0;
	return make_path(path, LEASEHOLD_PROVIDER_DIR, scheme) ? 0 : -ENAMETOOLONG;
}

// ---------------------------------------------------------------------------------------------
// Loading

static int check(const struct remote_provider *remote, const char *path, const char *scheme)
{
	if (!remote)
		return error_detail(-ELIBBAD,
				    "%.120s has no symbol " PROVIDER_SYMBOL
				    ": it is no provider of named locks",
				    path);
	if (remote->abi != PROVIDER_ABI || remote->size != sizeof(*remote))
		return error_detail(-ELIBBAD,
				    "%.120s is for another version of the library (interface %u of "
				    "%u bytes, not %u of %zu): install the one that came with it",
				    path, remote->abi, remote->size, PROVIDER_ABI, sizeof(*remote));
	if (strcmp(remote->scheme, scheme) != 0)
		return error_detail(-ELIBBAD, "%.120s is the provider of %.40s://, not of %s://",
				    path, remote->scheme, scheme);
	return 0;
}

static int load_object(const char *scheme, const struct remote_provider **ret_remote)
{
	char path[PATH_SIZE];
	void *object;
	int error = find(scheme, path);

	if (error)
		return error_detail(error, DIRECTORY_VARIABLE ": the name is too long");
	if (access(path, F_OK) != 0)
		return error_detail(-ENOTSUP,
				    "no provider of named locks is called \"%s\": there is no "
				    "%.140s (install it, or set " DIRECTORY_VARIABLE ")",
				    scheme, path);
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!object) {
		const char *why = dlerror();

		return error_detail(-ELIBBAD, "%.240s", why ? why : path);
	}
	*ret_remote = dlsym(object, PROVIDER_SYMBOL);
	error = check(*ret_remote, path, scheme);
	if (error)
		dlclose(object);
	return error;
}

static int load(const char *scheme, const struct provider **ret_provider)
{
	const struct remote_provider *remote;
	struct loaded *loaded;
	int error;

	for (loaded = all_loaded; loaded; loaded = loaded->next) {
		if (strcmp(loaded->scheme, scheme) != 0)
			continue;
		*ret_provider = &loaded->provider;
		return 0;
	}
	error = load_object(scheme, &remote);
	if (error)
		return error;
	loaded = calloc(1, sizeof(*loaded));
	if (!loaded)
		return error_detail(-ENOMEM, "no memory");
	snprintf(loaded->scheme, sizeof(loaded->scheme), "%s", scheme);
	remote_describe(remote, &loaded->provider);
	loaded->next = all_loaded;
	all_loaded = loaded;
	*ret_provider = &loaded->provider;
	return 0;
}

int remote_load(const char *scheme, size_t length, const struct provider **ret_provider)
{
	PROCESS_NO_CANCEL;
	char name[SCHEME_MOST + 1];
	int error;

	if (!is_scheme(scheme, length))
		return error_detail(-EINVAL,
				    "\"%.*s\" is no URL's scheme: a letter, then letters, digits, "
				    "'+', '-' and '.', at most %u",
				    (int)(length < 40 ? length : 40), scheme, SCHEME_MOST);
	memcpy(name, scheme, length);
	name[length] = '\0';
	pthread_once(&once, set_hooks);
	pthread_mutex_lock(&lock);
	error = load(name, ret_provider);
	pthread_mutex_unlock(&lock);
	return error;
}
