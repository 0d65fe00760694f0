// SPDX-License-Identifier: Apache-2.0
#include "crew.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

// ---- in a member ---------------------------------------------------------------------------------
static void lock_as_ordered(struct crew *crew, struct member *self)
{
	struct crew_shared *shared = crew->shared;

	gate_set(&self->state, STATE_LOCKING);
	const int told = crew->lock.peer->lock(&crew->lock);
	self->granted = measure_now();
	self->told = told == PEER_OWNER_DIED;
	if (self->order == ORDER_LOCK_AND_HOLD) {
		gate_set(&self->state, STATE_HOLDING);
		return;
	}
	uint32_t wanted = 1;
	if (atomic_compare_exchange_strong(&shared->heirs_wanted, &wanted, 0)) {
		gate_set(&self->state, STATE_HOLDING);
		gate_set(&shared->heir, crew->next + 1);
		return;
	}
	crew->lock.peer->unlock(&crew->lock);
	gate_set(&self->state, STATE_IDLE);
}

static void obey(void *context)
{
	struct crew *crew = context;
	struct member *self = &crew->shared->members[crew->next];
	uint32_t orders = atomic_load(&self->orders);

	crew->lock.peer->attach(&crew->lock);
	gate_set(&self->state, STATE_IDLE);
	for (;;) {
		orders = gate_await_order(&self->orders, orders);
		switch (self->order) {
		case ORDER_LOCK_AND_HOLD:
		case ORDER_LOCK_AND_PASS:
			lock_as_ordered(crew, self);
			break;
		case ORDER_UNLOCK_AND_KILL:
			crew->lock.peer->unlock(&crew->lock);
			crew->shared->killed = measure_now();
			if (kill(crew->shared->target, SIGKILL) != 0)
				process_die_errno(errno, "kill");
			gate_set(&self->state, STATE_IDLE);
			break;
		case ORDER_UNLOCK:
			self->unlocked = measure_now();
			crew->lock.peer->unlock(&crew->lock);
			gate_set(&self->state, STATE_IDLE);
			break;
		case ORDER_NONE:
			break;
		case ORDER_QUIT:
			crew->lock.peer->detach(&crew->lock);
			return;
		}
	}
}

// ---- in the program ------------------------------------------------------------------------------
void crew_hire(struct crew *crew, uint32_t member)
{
	struct member *shared = &crew->shared->members[member];

	crew->next = member;
	atomic_store(&shared->state, 0);
	crew->pids[member] = process_start(obey, crew);
	gate_await(&shared->state, STATE_IDLE);
}

void crew_start(struct crew *crew, const struct peer *peer, uint32_t size)
{
	peer_create(&crew->lock, peer);
	crew->shared = process_shared_memory(sizeof(*crew->shared));
	crew->size = size;
	for (uint32_t i = 0; i < size; i++)
		crew_hire(crew, i);
}

void crew_order(struct crew *crew, uint32_t member, enum order order)
{
	struct member *shared = &crew->shared->members[member];

	shared->order = order;
	gate_add(&shared->orders, 1);
}

void crew_end(struct crew *crew)
{
	for (uint32_t i = 0; i < crew->size; i++) {
		crew_order(crew, i, ORDER_QUIT);
		process_finish(crew->pids[i]);
	}
	munmap(crew->shared, sizeof(*crew->shared));
	crew->lock.peer->destroy(&crew->lock);
}

void crew_await_asleep(struct crew *crew, uint32_t member)
{
	gate *state = &crew->shared->members[member].state;

	gate_await(state, STATE_LOCKING);
	if (!crew->lock.peer->spins)
		process_await_asleep(crew->pids[member], crew->lock.peer->name);
}

void crew_queue_up(struct crew *crew, uint32_t members, enum order second)
{
	crew_order(crew, 0, ORDER_LOCK_AND_HOLD);
	gate_await(&crew->shared->members[0].state, STATE_HOLDING);
	for (uint32_t i = 1; i < members; i++) {
		crew_order(crew, i, i == 1 ? second : ORDER_LOCK_AND_PASS);
		crew_await_asleep(crew, i);
	}
}
