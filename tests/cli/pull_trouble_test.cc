// carat pull in trouble that is not the hub's: a full disk, a stalled line,
// other processes, a kill; and a person who is asked.
#include <pty.h>
#include <sys/mount.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "carat/hub.h"
#include "tests/cli/hub_fixture.h"

namespace carat {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr const char* kMoved = "89abcdef0123456789abcdef0123456789abcdef";

class PullTroubleTest : public HubFixture {
 protected:
  /// What a person at a terminal sees who answers `answer`.
  std::string ask(const std::string& answer) const {
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
      set_environment();
      execl(CARAT_TOOL, CARAT_TOOL, "inspect", "--model", "good/m", nullptr);
      _exit(127);
    }
    std::string seen;
    bool answered = false;
    char bytes[4096];
    for (ssize_t size; (size = read(terminal, bytes, sizeof(bytes))) > 0;) {
      seen.append(bytes, static_cast<size_t>(size));
      if (answered || seen.find("(y/N)") == seen.npos) continue;
      answered = true;
      EXPECT_EQ(write(terminal, answer.data(), answer.size()),
                std::ssize(answer));
    }
    waitpid(child, nullptr, 0);
    close(terminal);
    return seen;
  }
};

TEST_F(PullTroubleTest, ShardsComeWithTheirIndexAndNothingElse) {
  const Outcome outcome = run({"pull", "sharded/m", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const fs::path snapshot = json::parse(outcome.out)["path"];
  EXPECT_EQ(fs::file_size(snapshot / "model-1-of-2.safetensors"), 3U << 20);
  EXPECT_EQ(fs::file_size(snapshot / "model-2-of-2.safetensors"), 1U << 20);
  EXPECT_EQ(std::distance(fs::directory_iterator(snapshot), {}), 5);
  const HubName name = parse_hub_name("sharded/m");
  EXPECT_EQ(find_pulled_model(name, folder_ / "home" / "hub"), snapshot);
  fs::rename(snapshot / "tokenizer.json", folder_ / "tokenizer.json");
  EXPECT_FALSE(find_pulled_model(name, folder_ / "home" / "hub"));
  fs::rename(folder_ / "tokenizer.json", snapshot / "tokenizer.model");
  EXPECT_EQ(find_pulled_model(name, folder_ / "home" / "hub"), snapshot);
  fs::remove(snapshot / "model-2-of-2.safetensors");
  EXPECT_FALSE(find_pulled_model(name, folder_ / "home" / "hub"));
}

TEST_F(PullTroubleTest, OfSeveralGgufFilesTheNamedOneComes) {
  const Outcome several = run({"pull", "ggufs/m"});
  EXPECT_NE(several.exit_code, 0);
  EXPECT_NE(several.err.find("m.Q4_K_M.gguf"), std::string::npos);
  EXPECT_NE(several.err.find("m.Q8_0.gguf"), std::string::npos);
  const Outcome one = run({"pull", "ggufs/m:q8_0", "--json"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const json value = json::parse(one.out);
  EXPECT_EQ(value["files"].size(), 1U);
  EXPECT_EQ(fs::file_size(value["path"].get<std::string>()), 2U << 20);
}

TEST_F(PullTroubleTest, ADiskThatIsTooSmallIsSaidBeforeAnythingComes) {
  const fs::path cache = folder_ / "home" / "hub";
  fs::create_directories(cache);
  if (mount("tmpfs", cache.c_str(), "tmpfs", 0, "size=2m") != 0) {
    GTEST_SKIP() << "no right to mount a small disk";
  }
  const Outcome outcome = run({"pull", "good/m"});
  umount(cache.c_str());
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("and the disk has"), std::string::npos)
      << outcome.err;
}

TEST_F(PullTroubleTest, AFailedWriteIsClearAndTheNextRunCompletes) {
  const std::string limited =
      "trap '' XFSZ; ulimit -f 2048; exec " CARAT_TOOL " pull good/m";
  int status = 0;
  waitpid(start({"/bin/bash", "-c", limited}), &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 1);
  const std::string said = read_whole(folder_ / "err");
  EXPECT_NE(said.find("File too large"), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(repo("good") / "refs" / "main"));
  ASSERT_EQ(run({"pull", "good/m"}).exit_code, 0);
  expect_complete("good");
}

TEST_F(PullTroubleTest, AStalledConnectionIsGivenUp) {
  HubOptions options;
  options.cache = folder_ / "cache";
  options.endpoint = endpoint_;
  options.stall_time = std::chrono::seconds(1);
  options.retries = 1;
  options.retry_delay = milliseconds(10);
  try {
    pull_model(parse_hub_name("stall/m"), options);
    FAIL() << "it came";
  } catch (const HubError& error) {
    EXPECT_EQ(error.problem(), HubProblem::kNetwork);
    EXPECT_NE(std::string(error.what()).find("will be kept"), std::string::npos)
        << error.what();
  }
}

TEST_F(PullTroubleTest, APersonIsOfferedThePull) {
  EXPECT_NE(ask("n\n").find("carat pull good/m"), std::string::npos);
  EXPECT_FALSE(fs::exists(repo("good")));
  ask("y\n");
  expect_complete("good");
}

TEST_F(PullTroubleTest, ASecondProcessWaitsForTheFirst) {
  const pid_t first = start({CARAT_TOOL, "pull", "slow/m"}, "first.");
  const fs::path blobs = repo("slow") / "blobs";
  const auto has_begun = [&] {
    std::error_code error;
    for (const auto& file : fs::directory_iterator(blobs, error)) {
      if (!file.path().extension().empty()) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000 && !has_begun(); ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  const Outcome second = run({"pull", "slow/m", "--json"});
  int status = 0;
  waitpid(first, &status, 0);
  EXPECT_EQ(status, 0);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(second.err.find("another process is fetching it"),
            std::string::npos)
      << second.err;
  EXPECT_LT(json::parse(second.out)["received_bytes"], 1 << 20);
  expect_complete("slow");
}

TEST_F(PullTroubleTest, AKilledPullOfANewRevisionLeavesTheOldOne) {
  ASSERT_EQ(run({"pull", "slow/m"}).exit_code, 0);
  std::ofstream(folder_ / "moved") << "";
  const pid_t child = start({CARAT_TOOL, "pull", "slow/m"});
  std::this_thread::sleep_for(milliseconds(400));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_whole(repo("slow") / "refs" / "main"), kCommit);
  EXPECT_EQ(
      find_pulled_model(parse_hub_name("slow/m"), folder_ / "home" / "hub"),
      repo("slow") / "snapshots" / kCommit);
  const Outcome next = run({"pull", "slow/m", "--json"});
  ASSERT_EQ(next.exit_code, 0) << next.err;
  EXPECT_EQ(json::parse(next.out)["commit"], kMoved);
  EXPECT_EQ(read_whole(repo("slow") / "refs" / "main"), kMoved);
  EXPECT_TRUE(fs::exists(repo("slow") / "snapshots" / kCommit));
}

}  // namespace
}  // namespace carat
