// SPDX-License-Identifier: Apache-2.0
#ifndef LEASEHOLD_CXX_VALUE_HPP
#define LEASEHOLD_CXX_VALUE_HPP

/* once, watch and cell, of values that are copied byte by byte: leasehold.hpp has the overview. */

#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include <leasehold/cell.h>
#include <leasehold/cxx/arena.hpp>
#include <leasehold/once.h>
#include <leasehold/watch.h>

namespace leasehold
{

template <class T> class once : public detail::primitive<lh_once>
{
      public:
	once(const arena &arena, const std::string &name, uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_once_options options{};

		detail::require_plain<T>();
		options.name = detail::name_or_null(name);
		options.data_size = sizeof(T);
		check(lh_once_at(arena.get(), offset, &options, &handle_));
	}
	// The value, made by make(T &) in one process alone. What make throws goes to this caller,
	// and the next one tries.
	template <class Make> const T &call(Make make, lh_deadline deadline = LH_FOREVER)
	{
		struct running {
			Make *make;
			std::exception_ptr thrown;
		} run{ &make, nullptr };
		const int result = lh_once_call(
			&handle_, lease(),
			[](void *data, void *context) {
				auto *self = static_cast<running *>(context);

				try {
					(*self->make)(*static_cast<T *>(data));
					return 0;
				} catch (...) {
					self->thrown = std::current_exception();
					return -ECANCELED;
				}
			},
			&run, deadline);

		if (run.thrown)
			std::rethrow_exception(run.thrown);
		check(result);
		return *value();
	}
	// Null until it is done.
	const T *value() const noexcept
	{
		return static_cast<const T *>(lh_once_data(&handle_));
	}
};

template <class T> class watch : public detail::primitive<lh_watch>
{
      public:
	watch(const arena &arena, const std::string &name, uint32_t slots = 0,
	      uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_watch_options options{};

		detail::require_plain<T>();
		options.name = detail::name_or_null(name);
		options.max_size = sizeof(T);
		options.slots = slots;
		check(lh_watch_at(arena.get(), offset, &options, &handle_));
	}
	watch with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	void claim()
	{
		check(lh_watch_claim(&handle_, lease()));
	}
	void send(const T &value)
	{
		check(lh_watch_send(&handle_, lease(), &value, sizeof(value)));
	}
	void close()
	{
		check(lh_watch_close(&handle_, lease()));
	}

	class receiver
	{
	      public:
		explicit receiver(const watch &watch)
		{
			check(lh_watch_subscribe(watch.get(), &receiver_));
		}
		// The newest value; nothing if none was ever sent.
		std::optional<T> read()
		{
			T value{}; // a sender that is not this class may send fewer bytes
			const int result = lh_watch_read(&receiver_, &value, sizeof(value), nullptr,
							 nullptr);

			if (result == -ENODATA)
				return std::nullopt;
			check(result);
			return value;
		}
		// The next value that this receiver has not seen; nothing once the sender closed,
		// died or was lost. Throws error (-ETIMEDOUT) at the deadline.
		std::optional<T> next(lh_deadline deadline = LH_FOREVER)
		{
			const int result = lh_watch_changed(&receiver_, deadline);

			if (result == -EPIPE)
				return std::nullopt;
			check(result);
			return read();
		}

	      private:
		lh_watch_receiver receiver_{};
	};

	receiver subscribe() const
	{
		return receiver(*this);
	}
};

template <class T> class cell : public detail::primitive<lh_cell>
{
      public:
	cell(const arena &arena, const std::string &name, uint32_t slots = 0,
	     uint64_t offset = LH_ANYWHERE)
		: primitive(arena)
	{
		lh_cell_options options{};

		detail::require_plain<T>();
		options.name = detail::name_or_null(name);
		options.size = sizeof(T);
		options.slots = slots;
		check(lh_cell_at(arena.get(), offset, &options, &handle_));
	}
	cell with(const leasehold::lease &lease) const
	{
		return bound(*this, lease);
	}
	T read() const
	{
		T value;

		check(lh_cell_read(&handle_, &value, nullptr));
		return value;
	}
	// change(T &) works on a draft, which becomes the value unless it throws. Throws
	// lease_lost, with the value as it was, if the lease was lost meanwhile. The token of the
	// change.
	template <class Change> uint64_t update(Change change, lh_deadline deadline = LH_FOREVER)
	{
		lh_lease *const own = lease();
		lh_grant grant{};
		void *draft;

		check(lh_cell_begin(&handle_, own, deadline, &draft, &grant));
		try {
			change(*static_cast<T *>(draft));
			check(lh_cell_commit(&handle_, own));
		} catch (...) {
			lh_cell_abort(&handle_, own);
			throw;
		}
		return grant.token;
	}
};

} // namespace leasehold

#endif
