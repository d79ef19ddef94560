// A file of torch.save made by hand: the state dict {"w": uint8 [count]}.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/zip_bytes.h"

namespace vmla::test {

// count is what the pickle claims of the storage.
inline std::string torch_pickle(std::uint32_t count) {
  const auto text = [](const std::string& value) { return "X" + le(value.size(), 4) + value; };
  const std::string number = "J" + le(count, 4);
  return "\x80\x02}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
         "ctorch\nByteStorage\n" + text("0") + text("cpu") + number + "tQK" + std::string(1, '\0') +
         number + "\x85K\1\x85\x89" + "ccollections\nOrderedDict\n)RtRs.";
}

inline std::string torch_file_bytes(std::uint32_t count, const std::string& data) {
  return zip_bytes({{"w/data.pkl", torch_pickle(count)}, {"w/data/0", data}});
}

}  // namespace vmla::test
