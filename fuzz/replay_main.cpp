// Runs a fuzz target over corpus files and seeded random mutations of them, without libFuzzer.
//   fuzz_NAME MUTATIONS SEED PATH...
// The input that runs is kept in a file until it has passed, so that a crash leaves it behind.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/stopwatch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Input = std::vector<std::uint8_t>;

constexpr std::uintmax_t kLargestInput = 16'384;
constexpr double kSlowestRun = 5.0;             // seconds
constexpr long kMostMemory = 2L * 1024 * 1024;  // kB of resident memory at the peak

Input load(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<Input> load_corpus(const std::vector<std::string>& paths) {
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    if (!fs::is_directory(path)) {
      files.emplace_back(path);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const fs::path& file : files) {
    if (fs::file_size(file) <= kLargestInput) corpus.push_back(load(file));
  }
  return corpus;
}

class Mutator {
 public:
  Mutator(const std::vector<Input>& corpus, unsigned seed) : corpus_(corpus), random_(seed) {}

  Input next() {
    Input input = corpus_[below(corpus_.size())];
    const std::size_t steps = 1 + below(4);
    for (std::size_t i = 0; i < steps; ++i) step(input);
    return input;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void step(Input& input) {
    const std::size_t at = below(input.size());
    const auto from = input.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t length = std::min(input.size() - at, 1 + below(16));
    const auto to = from + static_cast<std::ptrdiff_t>(length);
    switch (below(7)) {
      case 0:
        if (!input.empty()) *from = static_cast<std::uint8_t>(*from ^ (1U << below(8)));
        break;
      case 1:
        if (!input.empty()) *from = static_cast<std::uint8_t>(random_());
        break;
      case 2:
        input.resize(at);
        break;
      case 3:
        input.erase(from, to);
        break;
      case 4: {
        const Input copy(from, to);
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() + 1)),
                     copy.begin(),
                     copy.end());
        break;
      }
      case 5: {
        static constexpr std::array<std::uint64_t, 8> kNumbers = {
            0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff};
        const std::uint64_t number = kNumbers[below(kNumbers.size())];
        for (std::size_t i = 0; i < std::min<std::size_t>(length, 8); ++i) {
          input[at + i] = static_cast<std::uint8_t>(number >> (8 * i));
        }
        break;
      }
      default: {
        const Input& other = corpus_[below(corpus_.size())];
        const std::size_t other_at = below(other.size());
        const std::size_t count = std::min(other.size() - other_at, below(64));
        const auto begin = other.begin() + static_cast<std::ptrdiff_t>(other_at);
        input.insert(from, begin, begin + static_cast<std::ptrdiff_t>(count));
      }
    }
  }

  const std::vector<Input>& corpus_;
  std::mt19937_64 random_;
};

class Runner {
 public:
  explicit Runner(fs::path kept) : kept_(std::move(kept)) {
    fd_ = ::open(kept_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  }
  ~Runner() {
    ::close(fd_);
    ::unlink(kept_.c_str());
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void run(const Input& input) {
    if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, input.data(), input.size(), 0) < 0)
      std::perror("keeping the input");
    const vmla::Stopwatch watch;
    LLVMFuzzerTestOneInput(input.data(), input.size());
    if (watch.seconds() > kSlowestRun) {
      std::fprintf(stderr, "fuzz: one input took %.1f s\n", watch.seconds());
      std::abort();
    }
  }

 private:
  fs::path kept_;
  int fd_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MUTATIONS SEED PATH...\n", argv[0]);
    return 2;
  }
  const std::string name = fs::path(argv[0]).filename();
  const auto mutations = std::strtoul(argv[1], nullptr, 10);
  const auto seed = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10));
  const std::vector<Input> corpus = load_corpus({argv + 3, argv + argc});
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: expected corpus files, found none\n", name.c_str());
    return 2;
  }
  const fs::path kept = fs::temp_directory_path() / (name + ".input-" + std::to_string(::getpid()));
  std::printf("%s: an input that crashes stays in %s\n", name.c_str(), kept.c_str());
  std::fflush(stdout);

  const vmla::Stopwatch watch;
  Runner runner(kept);
  for (const Input& input : corpus) runner.run(input);
  Mutator mutator(corpus, seed);
  for (unsigned long i = 0; i < mutations; ++i) runner.run(mutator.next());

  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf("%s: %zu files, %lu mutations in %.1f s, at most %ld MB\n",
              name.c_str(),
              corpus.size(),
              mutations,
              watch.seconds(),
              usage.ru_maxrss / 1024);
  if (usage.ru_maxrss > kMostMemory) {
    std::fprintf(stderr, "%s: expected at most %ld kB of memory\n", name.c_str(), kMostMemory);
    return 1;
  }
  return 0;
}
