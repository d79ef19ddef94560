#include "dist/process_group.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <map>

#include "base/error.h"
#include "support/expect_close.h"
#include "support/run_ranks.h"

namespace vmla {
namespace {

using test::run_ranks;
using test::same_bits;

Environment fake(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto it = values.find(name);
    if (it == values.end()) return std::nullopt;
    return it->second;
  };
}

// Else a rank whose neighbour died ends by SIGPIPE, if it writes before it reads.
TEST(ProcessGroup, AWriteToADeadRankIsAnError) {
  const auto before = ::signal(SIGPIPE, SIG_DFL);
  run_ranks(2, [](ProcessGroup&) {});
  EXPECT_EQ(::signal(SIGPIPE, before), SIG_IGN);
}

TEST(RankLayout, AloneWithoutALauncher) {
  const RankLayout layout = read_rank_layout(fake({{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}}));
  EXPECT_EQ(layout.world_size, 1);
  EXPECT_EQ(layout.rank, 0);
}

TEST(RankLayout, Torchrun) {
  const RankLayout layout = read_rank_layout(fake({{"RANK", "5"},
                                                   {"WORLD_SIZE", "8"},
                                                   {"LOCAL_RANK", "1"},
                                                   {"MASTER_ADDR", "10.0.0.1"},
                                                   {"MASTER_PORT", "29400"}}));
  EXPECT_EQ(layout.launcher, "torchrun");
  EXPECT_EQ(layout.rank, 5);
  EXPECT_EQ(layout.world_size, 8);
  EXPECT_EQ(layout.local_rank, 1);
  EXPECT_EQ(layout.master_address, "10.0.0.1");
  EXPECT_EQ(layout.master_port, 29400);
}

TEST(RankLayout, Srun) {
  const RankLayout layout = read_rank_layout(fake({{"SLURM_JOB_ID", "12345"},
                                                   {"SLURM_STEP_NODELIST", "gpu[07-09,12]"},
                                                   {"SLURM_PROCID", "3"},
                                                   {"SLURM_NTASKS", "4"},
                                                   {"SLURM_LOCALID", "1"}}));
  EXPECT_EQ(layout.launcher, "srun");
  EXPECT_EQ(layout.rank, 3);
  EXPECT_EQ(layout.local_rank, 1);
  EXPECT_EQ(layout.master_address, "gpu07");
  EXPECT_EQ(layout.master_port, 32345);
}

TEST(RankLayout, Mpirun) {
  std::map<std::string, std::string> env{{"OMPI_COMM_WORLD_RANK", "1"},
                                         {"OMPI_COMM_WORLD_SIZE", "2"},
                                         {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  EXPECT_EQ(read_rank_layout(fake(env)).master_address, "127.0.0.1");
  env["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";  // several machines: who is rank 0?
  EXPECT_THROW(read_rank_layout(fake(env)), Error);
  env["MASTER_ADDR"] = "head";
  EXPECT_EQ(read_rank_layout(fake(env)).master_address, "head");
}

TEST(RankLayout, RefusesWhatCannotBe) {
  EXPECT_THROW(read_rank_layout(fake({{"RANK", "2"}, {"WORLD_SIZE", "2"}})), Error);
  EXPECT_THROW(read_rank_layout(fake({{"RANK", "one"}, {"WORLD_SIZE", "2"}})), Error);
  EXPECT_THROW(read_rank_layout(fake({{"WORLD_SIZE", "2"}})), Error);
}

TEST(RankLayout, FirstSlurmNode) {
  EXPECT_EQ(first_slurm_node("node1"), "node1");
  EXPECT_EQ(first_slurm_node("a1,b2"), "a1");
  EXPECT_EQ(first_slurm_node("node[3-5,9],x1"), "node3");
  EXPECT_EQ(first_slurm_node("x1,node[3-5]"), "x1");
}

TEST(ProcessGroup, Collectives) {
  run_ranks(3, [](ProcessGroup& group) {
    const auto rank = static_cast<float>(group.rank());
    const at::Tensor sum = at::tensor({rank, 1.0F});
    group.all_reduce(sum)->wait();
    EXPECT_TRUE(same_bits(sum, at::tensor({3.0F, 3.0F})));

    const at::Tensor whole = at::arange(6, at::kFloat) * (rank + 1);  // sum: arange * 6
    group.reduce_scatter(whole.narrow(0, group.rank() * 2, 2), whole)->wait();
    EXPECT_TRUE(
        same_bits(whole.narrow(0, group.rank() * 2, 2), at::tensor({rank * 12, rank * 12 + 6})));

    const at::Tensor all = at::full({6}, -1.0F).to(at::kBFloat16);
    all.narrow(0, group.rank() * 2, 2).fill_(rank);
    group.all_gather(all, all.narrow(0, group.rank() * 2, 2))->wait();
    EXPECT_TRUE(same_bits(all.to(at::kFloat), at::tensor({0.F, 0.F, 1.F, 1.F, 2.F, 2.F})));

    const at::Tensor told = at::full({2}, rank);
    group.broadcast(told, 1)->wait();
    EXPECT_TRUE(same_bits(told, at::ones({2})));
  });
}

TEST(ProcessGroup, APeerThatIsGoneIsAnError) {
  try {
    run_ranks(2, [](ProcessGroup& group) {
      if (group.rank() == 1) return;  // its connections close
      group.all_reduce(at::ones({4}))->wait();
      group.all_reduce(at::ones({4}))->wait();
    });
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Device);
    EXPECT_NE(std::string(error.what()).find("rank 0 of 2"), std::string::npos) << error.what();
  }
}

TEST(ProcessGroup, NobodyAtTheAddressIsAnError) {
  RankLayout layout;
  layout.world_size = 2;
  layout.rank = 1;
  layout.master_port = test::free_port();
  EXPECT_THROW(connect_processes(layout, at::kCPU, std::chrono::seconds(1)), Error);
}

TEST(ProcessGroup, OneProcessHasNothingToDo) {
  const auto group = single_process();
  const at::Tensor tensor = at::ones({2});
  group->all_reduce(tensor)->wait();
  EXPECT_TRUE(same_bits(tensor, at::ones({2})));
  EXPECT_EQ(group->size(), 1);
}

}  // namespace
}  // namespace vmla
