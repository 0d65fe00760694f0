// SPDX-License-Identifier: Apache-2.0
//
// A key's file name: percent-encoding of all but small letters, digits, '-', '_' and inner dots, so
// that keys differ as names do on file systems that fold case, strip dots or compose letters, too.
// What no encoded key looks like, '%' without two digits, marks the two exceptions: the empty key,
// and the SHA-256 of one that would be too long.
#include "src/provider/file.h"

#include "arena/error.h"
#include "src/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".lock"
#define EMPTY "%"
#define HASHED "%sha256-"

_Static_assert(FILE_NAME_KEY_MOST + sizeof(SUFFIX) <= FILE_NAME_SIZE, "a name fits");
_Static_assert(sizeof(HASHED) + 2 * (size_t)DIGEST_SIZE + sizeof(SUFFIX) <= FILE_NAME_SIZE,
	       "a name fits");

static const char digits[] = "0123456789abcdef";

static bool is_plain(char byte, bool is_first)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '_' || (byte == '.' && !is_first);
}

static char *put_hex(char *to, uint8_t byte)
{
	*to++ = digits[byte >> 4];
	*to++ = digits[byte & 15];
	return to;
}

// The end of what it wrote; NULL: it does not fit.
static char *encode(const struct provider_key *key, char *to)
{
	const char *from = key->bytes, *last = to + FILE_NAME_KEY_MOST;

	for (size_t i = 0; i < key->size; i++) {
		const bool plain = is_plain(from[i], i == 0);

		if (last - to < (plain ? 1 : 3))
			return NULL;
		if (plain) {
			*to++ = from[i];
		} else {
			*to++ = '%';
			to = put_hex(to, (uint8_t)from[i]);
		}
	}
	return to;
}

static int hash(const struct provider_key *key, char *to, char **ret_end)
{
	uint8_t digest[DIGEST_SIZE];
	const int error = digest_sha256(key->bytes, key->size, digest);

	if (error)
		return error;
	to = stpcpy(to, HASHED);
	for (size_t i = 0; i < sizeof(digest); i++)
		to = put_hex(to, digest[i]);
	*ret_end = to;
	return 0;
}

int file_name(const struct provider_key *key, char name[FILE_NAME_SIZE])
{
	char *end = key->size ? encode(key, name) : stpcpy(name, EMPTY);
	int error = 0;

	if (!end)
		error = hash(key, name, &end);
	if (!error)
		memcpy(end, SUFFIX, sizeof(SUFFIX));
	return error;
}

// ---------------------------------------------------------------------------------------------

static int value_of(char digit)
{
	const char *at;

	if (digit >= 'A' && digit <= 'F')
		digit = (char)(digit - 'A' + 'a');
	at = digit ? strchr(digits, digit) : NULL;
	return at ? (int)(at - digits) : -1;
}

int file_decode(const char *text, size_t length, char **ret_text)
{
	char *decoded = malloc(length + 1), *to = decoded;

	if (!decoded)
		return error_detail(-ENOMEM, "no memory");
	for (size_t i = 0; i < length; i++) {
		int byte = (uint8_t)text[i];

		if (text[i] == '%') {
			const int high = length - i > 2 ? value_of(text[i + 1]) : -1;
			const int low = length - i > 2 ? value_of(text[i + 2]) : -1;

			byte = high >= 0 && low >= 0 ? high << 4 | low : 0;
			if (!byte) {
				free(decoded);
				return error_detail(-EINVAL, "file URL: not understood: \"%.*s\"",
						    (int)(length - i < 3 ? length - i : 3),
						    text + i);
			}
			i += 2;
		}
		*to++ = (char)byte;
	}
	*to = '\0';
	*ret_text = decoded;
	return 0;
}
