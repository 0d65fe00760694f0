// SPDX-License-Identifier: Apache-2.0
//
// top_frame.c: puts what top found into lines.

#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

enum { SPARK_SHORT = 12, SPARK_LONG = TOP_HISTORY };

// ---- lines --------------------------------------------------------------------------------------

// Cuts the text off behind so many characters (all bytes but those that continue one begin one),
// and blanks at its end.
static void clip(char *text, size_t width)
{
	char *end = text;

	for (; *end; end++)
		if (((unsigned char)*end & 0xc0) != 0x80 && width-- == 0)
			break;
	while (end > text && end[-1] == ' ')
		end--;
	*end = '\0';
}

__attribute__((format(printf, 3, 4))) static void add_line(struct top_frame *frame, size_t width,
							   const char *format, ...)
{
	va_list arguments;

	frame->lines = inspector_room(frame->lines, frame->count, 1, &frame->capacity,
				      sizeof(frame->lines[0]));
	va_start(arguments, format);
	vsnprintf(frame->lines[frame->count], TOP_LINE, format, arguments);
	va_end(arguments);
	clip(frame->lines[frame->count++], width);
}

// ---- sparklines ---------------------------------------------------------------------------------

// The last `size` values, each a character as high as it is compared with the highest of them.
static const char *spark(const struct series *series, size_t size, char buffer[3 * TOP_HISTORY + 1])
{
	static const char *const blocks[] = { " ",      "\u2581", "\u2582", "\u2583", "\u2584",
					      "\u2585", "\u2586", "\u2587", "\u2588" };
	static const char *const plain[] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	const char *const *levels = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? blocks : plain;
	const size_t first = series->count > size ? series->count - size : 0;
	double highest = 0;
	size_t used = 0;

	for (size_t i = first; i < series->count; i++)
		if (series->values[i] > highest)
			highest = series->values[i];
	buffer[0] = '\0';
	for (size_t i = first; i < series->count; i++) {
		const double part = highest > 0 ? series->values[i] / highest : 0;
		const int level = part > 0 ? 1 + (int)(part * 7.0 + 0.5) : 0;
		const size_t bytes = strlen(levels[level]);

		memcpy(buffer + used, levels[level], bytes + 1);
		used += bytes;
	}
	return buffer;
}

static double newest(const struct series *series)
{
	return series->count ? series->values[series->count - 1] : 0;
}

// ---- parts --------------------------------------------------------------------------------------

static void add_summary(const struct top_model *model, struct top_frame *frame, size_t width)
{
	char bars[3 * TOP_HISTORY + 1], longest[DURATION_TEXT];
	char *name = escape_text(model->arena);

	add_line(frame, width,
		 "%s: %zu processes, %zu leases (%zu live, %zu expired, %zu dead), %zu holds, "
		 "%zu waiting, longest %s",
		 name, model->processes,
		 model->leases_live + model->leases_expired + model->leases_dead,
		 model->leases_live, model->leases_expired, model->leases_dead, model->holds,
		 model->waiters, format_duration(model->options, model->longest_wait, longest));
	free(name);
	add_line(frame, width, "grants/s    %10.1f  %s", newest(&model->grants),
		 spark(&model->grants, SPARK_LONG, bars));
	add_line(frame, width, "waiting     %10.0f  %s", newest(&model->waiting),
		 spark(&model->waiting, SPARK_LONG, bars));
	add_line(frame, width, "recovered/s %10.1f  %s", newest(&model->recoveries),
		 spark(&model->recoveries, SPARK_LONG, bars));
}

static void add_object(const struct options *options, const struct top_object *object,
		       struct top_frame *frame, size_t width)
{
	char bars[3 * TOP_HISTORY + 1], held[DURATION_TEXT], waited[DURATION_TEXT];
	char holder[64] = "-";

	if (object->pid && object->holders > 1)
		snprintf(holder, sizeof(holder), "%" PRId32 " %.15s +%zu", object->pid,
			 object->command, object->holders - 1);
	else if (object->pid)
		snprintf(holder, sizeof(holder), "%" PRId32 " %.15s", object->pid, object->command);
	add_line(frame, width, "%-20.20s %-9s %-9s %-22.22s %7s %4zu %7s %10.1f %s%s", object->name,
		 object->kind, object->damaged ? "damaged" : object->state, holder,
		 object->held_ns ? format_duration(options, object->held_ns, held) : "-",
		 object->waiters,
		 object->waiters ? format_duration(options, object->waited_ns, waited) : "-",
		 object->rate, spark(object->rates, SPARK_SHORT, bars),
		 object->damaged && object->pid ? " *" : "");
}

static void add_lease(const struct options *options, const struct top_lease *lease,
		      struct top_frame *frame, size_t width)
{
	char waited[DURATION_TEXT];

	add_line(frame, width,
		 "%10" PRIu64 " %7" PRId32 " %-8s %-10s %-15.15s %-16.16s %5zu %-20.20s %7s",
		 lease->id, lease->pid, lease->state, lease->process, lease->command,
		 lease->label[0] ? lease->label : "-", lease->holds,
		 lease->waits_for[0] ? lease->waits_for : "-",
		 lease->waits_for[0] ? format_duration(options, lease->waited_ns, waited) : "-");
}

// ---- the order of objects -----------------------------------------------------------------------

static int descending(double a, double b)
{
	return (a < b) - (a > b);
}

static int order_names(const void *a, const void *b)
{
	return strcmp(((const struct top_object *)a)->name, ((const struct top_object *)b)->name);
}

static int order_waiters(const void *a, const void *b)
{
	const struct top_object *x = (const struct top_object *)a;
	const struct top_object *y = (const struct top_object *)b;
	const int order = descending((double)x->waiters, (double)y->waiters);

	return order ? order : order_names(a, b);
}

static int order_waits(const void *a, const void *b)
{
	const struct top_object *x = (const struct top_object *)a;
	const struct top_object *y = (const struct top_object *)b;
	const int order = descending((double)x->waited_ns, (double)y->waited_ns);

	return order ? order : order_names(a, b);
}

static int order_rates(const void *a, const void *b)
{
	const struct top_object *x = (const struct top_object *)a;
	const struct top_object *y = (const struct top_object *)b;
	const int order = descending(x->rate, y->rate);

	return order ? order : order_waiters(a, b);
}

// ---- a frame ------------------------------------------------------------------------------------

void top_compose(struct top_model *model, enum top_order order, size_t width, size_t height,
		 struct top_frame *frame)
{
	static int (*const orders[])(const void *, const void *) = { order_rates, order_waiters,
								     order_waits, order_names };
	static const char *const words[] = { "grants", "waiters", "longest wait", "name" };
	enum { AROUND = 7 }; // lines that are not the tables'
	size_t leases = model->lease_count, objects = model->object_count;

	if (height) { // leases get what objects leave, but at least a third
		const size_t room = height > AROUND ? height - AROUND : 0;
		const size_t third = room / 3;
		const size_t left = objects < room ? room - objects : 0;

		if (leases > (left > third ? left : third))
			leases = left > third ? left : third;
		if (objects > room - leases)
			objects = room - leases;
	}
	frame->count = 0;
	if (width >= TOP_LINE)
		width = TOP_LINE - 1;
	if (model->object_count > 1)
		qsort(model->objects, model->object_count, sizeof(model->objects[0]),
		      orders[order]);
	add_summary(model, frame, width);
	frame->headings[0] = frame->count;
	add_line(frame, width, "%-20s %-9s %-9s %-22s %7s %4s %7s %10s by %s", "OBJECT", "TYPE",
		 "STATE", "HOLDER", "HELD", "WAIT", "LONGEST", "GRANTS/S", words[order]);
	for (size_t i = 0; i < objects; i++)
		add_object(model->options, &model->objects[i], frame, width);
	add_line(frame, width, "%s", "");
	frame->headings[1] = frame->count;
	add_line(frame, width, "%10s %7s %-8s %-10s %-15s %-16s %5s %-20s %7s", "LEASE", "PID",
		 "STATE", "PROCESS", "COMMAND", "LABEL", "HOLDS", "WAITS-FOR", "WAITED");
	for (size_t i = 0; i < leases; i++)
		add_lease(model->options, &model->leases[i], frame, width);
}

void top_frame_free(struct top_frame *frame)
{
	free(frame->lines);
}
