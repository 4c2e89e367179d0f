// Work for other threads, in a coroutine.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>

namespace onebit::server {

/// Runs what could hold up connections on another thread, and comes back with its result.
template <class Work>
boost::asio::awaitable<std::invoke_result_t<Work>> run_on(boost::asio::thread_pool& pool, Work work) {
  const auto there = [&]() -> boost::asio::awaitable<std::invoke_result_t<Work>> { co_return work(); };
  co_return co_await boost::asio::co_spawn(pool.get_executor(), there, boost::asio::use_awaitable);
}

}  // namespace onebit::server
