// In which order an epoch visits the samples.
#pragma once

#include <cstdint>
#include <vector>

#include "data/instruct_dataset.h"

namespace vmla {

// 0 .. count-1 as torch.randperm(count, generator=Generator().manual_seed(seed)) has them.
std::vector<std::int64_t> shuffled_order(std::int64_t count, std::uint64_t seed);

// Words of all turns: positive for samples with an image, negative for text-only ones.
std::vector<std::int64_t> modality_lengths(const std::vector<InstructSample>& samples);

// LLaVA's group_by_modality_length. chunks = world size * accumulation steps; a megabatch is
// chunks * batch_size samples of one modality: each is sorted by length, longest first, dealt to
// the chunks so that they get equally many words, and the megabatches are shuffled. What is left of
// both modalities comes last. With one modality all of it is grouped, and the rest stays in place.
std::vector<std::int64_t> length_grouped_order(const std::vector<std::int64_t>& modality_lengths,
                                               std::int64_t batch_size,
                                               std::int64_t chunks,
                                               std::uint64_t seed);

}  // namespace vmla
