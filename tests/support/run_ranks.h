// Ranks of a test as threads of one process, joined by Gloo over the loopback device.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "dist/process_group.h"

namespace vmla::test {

inline std::int64_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), length);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(fd);
  return ntohs(address.sin_port);
}

// Rethrows the first rank's exception.
inline void run_ranks(std::int64_t count, const std::function<void(ProcessGroup&)>& work) {
  // libtorch's flight recorder is one per process and adds a group to its map without a lock: two
  // ranks in one process crash it now and then. Read once, at the first collective.
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1);
  RankLayout layout;
  layout.world_size = count;
  layout.master_port = free_port();
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  std::vector<std::thread> threads;
  for (std::int64_t rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      RankLayout own = layout;
      own.rank = rank;
      try {
        const auto group = connect_processes(own, at::kCPU, std::chrono::seconds(20));
        work(*group);
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace vmla::test
