// Memory of this process as the kernel counts it.
#pragma once

#include <fstream>
#include <string>

namespace vmla::test {

// A line of /proc/self/status in bytes: "VmRSS" is now, "VmHWM" the peak. 0 where there is none.
inline std::size_t memory_status(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

// The peak starts anew from what is resident now; false where the kernel does not allow it.
inline bool reset_memory_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5";
  clear.close();
  return !clear.fail();
}

}  // namespace vmla::test
