// The first questions of conversations, read as the Python original's ranking does.
#pragma once

#include "data/instruct_dataset.h"

namespace vmla {

// As load_instruct_dataset, but of each conversation only the first turn of a human ("human" or
// "user", under "from" or "role"), whatever stands around it: no turn where there is none.
InstructDataset load_instruct_questions(const fs::path& path, std::int64_t limit);

}  // namespace vmla
