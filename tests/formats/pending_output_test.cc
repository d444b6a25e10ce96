#include "formats/pending_output.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "carat/error.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class PendingOutputTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "carat-pending-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::span<const std::byte> bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
  }
  static std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  int64_t entries() const {
    return std::distance(fs::directory_iterator(folder_),
                         fs::directory_iterator());
  }
  static void expect_refused(const std::function<void()>& call,
                             const std::string& part) {
    SCOPED_TRACE(part);
    try {
      call();
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << error.what();
    }
  }

  fs::path folder_;
};

TEST_F(PendingOutputTest, AFileAppearsWhole) {
  const fs::path path = folder_ / "file";
  std::ofstream(path) << "old";
  const std::string large(200000, 'x');
  {
    PendingFile file(path);
    file.open();
    file.write(bytes("small"));
    file.write(bytes(large));
    file.write(bytes("end"));
    EXPECT_EQ(read(path), "old");
    file.commit();
  }
  EXPECT_EQ(read(path), "small" + large + "end");
  EXPECT_EQ(entries(), 1);
}

TEST_F(PendingOutputTest, AnAbandonedFileLeavesNothing) {
  {
    PendingFile file(folder_ / "file");
    file.open();
    file.write(bytes("text"));
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(PendingOutputTest, WhatAKilledProcessLeftIsWrittenOver) {
  std::ofstream(folder_ / "file.part") << "much longer than what comes";
  PendingFile file(folder_ / "file");
  file.open();
  file.write(bytes("text"));
  file.commit();
  EXPECT_EQ(read(folder_ / "file"), "text");
  EXPECT_EQ(entries(), 1);
}

TEST_F(PendingOutputTest, TwoWritersAreOneTooMany) {
  PendingFile first(folder_ / "file");
  first.open();
  PendingFile second(folder_ / "file");
  expect_refused([&] { second.open(); }, "another process is writing it");
  const PendingFolder folder(folder_ / "model");
  expect_refused([&] { PendingFolder(folder_ / "model"); },
                 "another process is writing it");
}

TEST_F(PendingOutputTest, WhatComesMeanwhileStays) {
  const fs::path path = folder_ / "file";
  {
    PendingFile file(path, false);
    file.open();
    file.write(bytes("mine"));
    std::ofstream(path) << "theirs";
    expect_refused([&] { file.commit(); }, "is there already");
  }
  EXPECT_EQ(read(path), "theirs");
  PendingFile late(path, false);
  expect_refused([&] { late.open(); }, "is there already");
  PendingFile free(folder_ / "free", false);
  free.open();
  free.write(bytes("text"));
  free.commit();
  EXPECT_EQ(read(folder_ / "free"), "text");

  const fs::path model = folder_ / "model";
  for (const bool replace : {false, true}) {
    PendingFolder folder(model, replace);
    std::ofstream(folder.pending() / "config.json") << "mine";
    fs::create_directories(model);
    std::ofstream(model / "letter.txt") << "dear";
    expect_refused([&] { folder.commit(); },
                   replace ? "no config.json" : "is there and not empty");
    EXPECT_EQ(read(model / "letter.txt"), "dear");
    fs::remove_all(model);
  }
  EXPECT_EQ(entries(), 2);
}

// As on a full disk, but for the reason; small pieces are gathered first.
TEST_F(PendingOutputTest, WhyNothingCanBeWrittenIsTold) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 50000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const size_t size : {size_t{60000}, size_t{100000}}) {
    PendingFile file(folder_ / "file");
    file.open();
    expect_refused(
        [&] {
          file.write(bytes(std::string(size, 'x')));
          file.commit();
        },
        "cannot be written: File too large");
  }
  EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(entries(), 0);
}

TEST_F(PendingOutputTest, AFolderTakesAnothersPlaceAtOnce) {
  const fs::path path = folder_ / "model";
  const auto fill = [&](const std::string& text, bool replace) {
    PendingFolder folder(path, replace);
    std::ofstream(folder.pending() / "config.json") << text;
    folder.commit();
  };
  fill("one", false);
  EXPECT_EQ(read(path / "config.json"), "one");
  expect_refused([&] { fill("two", false); }, "is there and not empty");
  { const PendingFolder abandoned(path, true); }
  EXPECT_EQ(read(path / "config.json"), "one");
  // What a killed process left.
  fs::create_directories(folder_ / "model.part");
  std::ofstream(folder_ / "model.part" / "stale") << "x";
  fill("three", true);
  EXPECT_EQ(read(path / "config.json"), "three");
  EXPECT_FALSE(fs::exists(path / "stale"));
  EXPECT_EQ(entries(), 1);
}

TEST_F(PendingOutputTest, OnlyModelFoldersAreReplaced) {
  const fs::path path = folder_ / "letters";
  fs::create_directories(path);
  std::ofstream(path / "letter.txt") << "dear";
  expect_refused([&] { PendingFolder(path, true); }, "no config.json");
  std::ofstream(path / "config.json") << "{}";
  fs::create_directories(path / "more");
  expect_refused([&] { PendingFolder(path, true); }, "more than files");
  expect_refused([&] { PendingFolder(path / "letter.txt", true); },
                 "is there and no folder");
}

}  // namespace
}  // namespace carat
