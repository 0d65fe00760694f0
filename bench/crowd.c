// SPDX-License-Identifier: Apache-2.0
#include "crowd.h"

#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "measure.h"

struct seat {
	_Alignas(64) gate orders;
	gate done;
	uint64_t count;
	double cpu_ns;
};

struct crowd_table {
	struct seat seats[CROWD_MOST];
	gate stop;
	struct crowd_order order; // none are active: the end
	_Atomic uint64_t violations;
};

static double cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void take_seat(void *context)
{
	struct crowd *crowd = context;
	struct crowd_table *table = crowd->table;
	struct seat *seat = &table->seats[crowd->next];
	uint32_t orders = 0;

	crowd->work->attach(crowd->context, crowd->next);
	gate_add(&seat->done, 1);
	for (;;) {
		orders = gate_await_order(&seat->orders, orders);
		const struct crowd_order order = table->order;

		if (order.active == 0)
			break;
		const double start = cpu_now();

		seat->count = crowd->work->contend(crowd->context, &order, &table->stop,
						   &table->violations);
		seat->cpu_ns = cpu_now() - start;
		gate_add(&seat->done, 1);
	}
	crowd->work->detach(crowd->context);
}

void crowd_start(struct crowd *crowd, const struct crowd_work *work, void *context, uint32_t size)
{
	*crowd = (struct crowd){ .work = work,
				 .context = context,
				 .table = process_shared_memory(sizeof(struct crowd_table)),
				 .size = size };
	for (crowd->next = 0; crowd->next < size; crowd->next++) {
		crowd->pids[crowd->next] = process_start(take_seat, crowd);
		gate_await(&crowd->table->seats[crowd->next].done, 1);
	}
}

static void give_order(struct crowd *crowd, const struct crowd_order *order, uint32_t seats)
{
	crowd->table->order = *order;
	atomic_store(&crowd->table->stop, 0);
	for (uint32_t i = 0; i < seats; i++)
		gate_add(&crowd->table->seats[i].orders, 1);
}

struct crowd_slice crowd_slice(struct crowd *crowd, const struct crowd_order *order)
{
	struct crowd_table *table = crowd->table;
	uint32_t done[CROWD_MOST];
	const uint64_t start = measure_now();
	uint64_t count = 0;
	double cpu = 0;

	for (uint32_t i = 0; i < order->active; i++)
		done[i] = atomic_load(&table->seats[i].done);
	give_order(crowd, order, order->active);
	measure_sleep_until(start + order->ns);
	atomic_store(&table->stop, 1);
	const double took = (double)(measure_now() - start);

	for (uint32_t i = 0; i < order->active; i++) {
		gate_await(&table->seats[i].done, done[i] + 1);
		crowd->shares[i] = table->seats[i].count;
		count += table->seats[i].count;
		cpu += table->seats[i].cpu_ns;
	}
	if (count == 0)
		return (struct crowd_slice){ NAN, NAN };
	return (struct crowd_slice){ took / (double)count, cpu / (double)count };
}

void crowd_end(struct crowd *crowd, struct run *run)
{
	give_order(crowd, &(struct crowd_order){ .active = 0 }, crowd->size);
	for (uint32_t i = 0; i < crowd->size; i++)
		process_finish(crowd->pids[i]);
	const uint64_t violations = atomic_load(&crowd->table->violations);

	if (violations) {
		fprintf(stderr, "lease-bench: %s: the exclusion was violated %llu times\n",
			crowd->work->name, (unsigned long long)violations);
		run->failed = true;
	}
	munmap(crowd->table, sizeof(*crowd->table));
}
