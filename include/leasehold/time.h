// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_TIME_H
#define LEASEHOLD_TIME_H

/*
 * Deadlines.
 *
 * Whatever can wait takes the moment at which to give up, not a duration: a call that is repeated
 * after a spurious return then needs no arithmetic, and several calls can share one deadline. The
 * clock is CLOCK_MONOTONIC in nanoseconds, which setting the time does not move and which stands
 * still while the machine is suspended. Durations are plain uint64_t nanoseconds; a deadline is a
 * struct, so that the compiler tells one from the other.
 *
 * Example: two locks, and no more than 50 ms for both.
 *
 *	#include <leasehold/mutex.h>
 *
 *	int lock_both(const lh_mutex *first, const lh_mutex *second, lh_lease *lease)
 *	{
 *		const lh_deadline deadline = lh_deadline_after(LH_MS(50));
 *		int error = lh_mutex_lock(first, lease, deadline, NULL);
 *
 *		if (error)
 *			return error;
 *		error = lh_mutex_lock(second, lease, deadline, NULL);
 *		if (error)
 *			lh_mutex_unlock(first, lease);
 *		return error;
 *	}
 */

#include <stdint.h>

#include <leasehold/api.h>

LH_BEGIN_DECLS

/* ns: absolute CLOCK_MONOTONIC. 0 and UINT64_MAX are LH_NOW and LH_FOREVER. */
typedef struct {
	uint64_t ns;
} lh_deadline;

LH_STATIC_ASSERT(sizeof(lh_deadline) == 8, "lh_deadline is part of the ABI");

/* For variables of static storage duration: static const lh_deadline d = LH_DEADLINE_INIT(1); */
/* clang-format off */
#define LH_DEADLINE_INIT(nanoseconds) { (nanoseconds) }
/* clang-format on */

/*
 * LH_NOW: try once and never sleep; what would have to wait says -EBUSY. Any other deadline that
 * has passed also tries once, but then says -ETIMEDOUT.
 * LH_FOREVER: no deadline.
 */
#ifdef __cplusplus
inline constexpr lh_deadline LH_NOW = LH_DEADLINE_INIT(0);
inline constexpr lh_deadline LH_FOREVER = LH_DEADLINE_INIT(UINT64_MAX);
#else
#define LH_NOW ((lh_deadline)LH_DEADLINE_INIT(0))
#define LH_FOREVER ((lh_deadline)LH_DEADLINE_INIT(UINT64_MAX))
#endif

/* Durations in nanoseconds. They do not saturate: LH_SEC wraps beyond 584 years. */
/* clang-format off */
#define LH_MS(n) ((uint64_t)(n) * 1000000u)
#define LH_SEC(n) ((uint64_t)(n) * 1000000000u)
/* clang-format on */

/* The present CLOCK_MONOTONIC time in ns. Cannot fail. Signal: safe. */
LH_API uint64_t lh_now(void);

/*
 * The moment ns nanoseconds from now; LH_FOREVER where the sum does not fit. A duration of 0 is a
 * deadline that passes at once (-ETIMEDOUT), not LH_NOW (-EBUSY). Cannot fail. Signal: safe.
 */
LH_API lh_deadline lh_deadline_after(uint64_t ns);

LH_END_DECLS

#endif
