// The part of a dataset that --sample_ratio keeps.
#pragma once

#include <vector>

#include "data/instruct_dataset.h"

namespace vmla {

// As the Python original: random.seed(42), shuffle, the first int(N * ratio); with 1 nothing is
// shuffled. Where that would be no sample one is kept, with a warning. Errors: ErrorKind::Usage for
// a ratio that is not above 0 and at most 1.
std::vector<InstructSample> sample_subset(std::vector<InstructSample> samples, double ratio);

}  // namespace vmla
