// carat pull against hub_server.py on loopback: a hub and a CDN that cut, lie
// and refuse; and kill -9 at random points.
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/cli/hub_fixture.h"

namespace carat {
namespace {

using nlohmann::json;
using std::chrono::microseconds;

using PullTest = HubFixture;

TEST_F(PullTest, AModelComesOnceAndTheTokenStaysAtTheHub) {
  const Outcome first = run({"pull", "good/m", "--json"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const json value = json::parse(first.out);
  EXPECT_EQ(value["commit"], kCommit);
  EXPECT_EQ(value["files"].size(), 3U);
  EXPECT_EQ(value["received_bytes"], value["bytes"]);
  expect_complete("good");
  const Outcome again = run({"pull", "good/m", "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(json::parse(again.out)["received_bytes"], 0);
  const std::string log = read_whole(folder_ / "log");
  EXPECT_NE(log.find("hub Bearer secret\n"), std::string::npos);
  EXPECT_NE(log.find("cdn None\n"), std::string::npos);
  EXPECT_EQ(log.find("cdn Bearer"), std::string::npos);
}

TEST_F(PullTest, TheCacheIsUsedWithoutTheNetwork) {
  ASSERT_EQ(run({"pull", "good/m"}).exit_code, 0);
  kill(server_, SIGKILL);
  waitpid(server_, nullptr, 0);
  server_ = -1;
  const Outcome outcome = run({"inspect", "--model", "good/m"});
  EXPECT_NE(outcome.err.find(kCommit), std::string::npos) << outcome.err;
  const Outcome absent = run({"inspect", "--model", "other/m"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.err.find("carat pull other/m"), std::string::npos);
}

TEST_F(PullTest, CutsAndIgnoredRangesAreSurvived) {
  for (const std::string org : {"cut", "ignore"}) {
    const Outcome outcome = run({"pull", org + "/m"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    expect_complete(org);
  }
}

TEST_F(PullTest, LiesAndRefusalsAreClearErrors) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"corrupt", "has the hash"},     {"long", "the range"},
      {"short", "the range"},          {"loop", "redirects in circles"},
      {"gated", "is gated"},           {"denied", "does not accept"},
      {"absent", "has no such model"}, {"evil", "no file of a folder"},
      {"forbidden", "forbids it"},     {"liar", "announces 33 bytes"},
  };
  for (const auto& [org, words] : cases) {
    SCOPED_TRACE(org);
    const Outcome outcome = run({"pull", org + "/m"});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(repo(org) / "snapshots" / kCommit));
  }
  EXPECT_EQ(run({"pull", "../m"}).exit_code, 2);
  EXPECT_EQ(run({"pull", "a/b/c"}).exit_code, 2);
}

TEST_F(PullTest, AnotherCommitThanTheOneAskedForIsRefused) {
  const Outcome outcome =
      run({"pull", "good/m@89abcdef0123456789abcdef0123456789abcdef"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("is of the commit"), std::string::npos)
      << outcome.err;
  EXPECT_EQ(run({"pull", std::string("good/m@") + kCommit}).exit_code, 0);
}

// CARAT_KILL_ROUNDS: how many; 20 without it.
TEST_F(PullTest, KilledAnywhereItIsAbsentOrCompleteAndTheNextRunCompletes) {
  const char* wanted = std::getenv("CARAT_KILL_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 20;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run({"pull", "good/m"}).exit_code, 0);
  const auto usual = std::chrono::duration_cast<microseconds>(
      std::chrono::steady_clock::now() - begin);
  std::mt19937 random(7);
  int killed = 0;
  int saved = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    fs::remove_all(folder_ / "home");
    const pid_t child = start({CARAT_TOOL, "pull", "good/m"});
    std::this_thread::sleep_for(microseconds(
        std::uniform_int_distribution<int64_t>(0, usual.count())(random)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status) ? 1 : 0;
    if (fs::exists(repo("good") / "refs" / "main")) expect_complete("good");
    const Outcome next = run({"pull", "good/m", "--json"});
    ASSERT_EQ(next.exit_code, 0) << next.err;
    expect_complete("good");
    const json value = json::parse(next.out);
    saved += value["received_bytes"] < value["bytes"] ? 1 : 0;
  }
  RecordProperty("went_on", saved);  // from what the killed one left
  EXPECT_GT(saved, 0);
  EXPECT_GT(killed, rounds / 4);
  RecordProperty("killed", killed);
}

}  // namespace
}  // namespace carat
