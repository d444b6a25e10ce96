// hub_server.py on loopback, a cache folder of its own, and carat to run.
#ifndef CARAT_TESTS_CLI_HUB_FIXTURE_H_
#define CARAT_TESTS_CLI_HUB_FIXTURE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace carat {

namespace fs = std::filesystem;

inline constexpr const char* kCommit =
    "0123456789abcdef0123456789abcdef01234567";

inline std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class HubFixture : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' 2>/dev/null") != 0) {
      GTEST_SKIP() << "python3 is not there";
    }
    std::string pattern = fs::temp_directory_path() / "carat-pull-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    server_ = start({"/usr/bin/env", "python3", CARAT_HUB_SERVER, folder_},
                    "server.");
    for (int i = 0; i < 500 && !fs::exists(folder_ / "port"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ASSERT_TRUE(fs::exists(folder_ / "port"));
    endpoint_ = "http://127.0.0.1:" + read_whole(folder_ / "port");
  }
  void TearDown() override {
    if (server_ > 0) {
      kill(server_, SIGKILL);
      waitpid(server_, nullptr, 0);
    }
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  // Output goes to the folder's out and err; a process that outlives the next
  // one has a prefix of its own.
  pid_t start(const std::vector<std::string>& arguments,
              const std::string& prefix = {}) const {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const std::string out = folder_ / (prefix + "out");
    const std::string err = folder_ / (prefix + "err");
    const pid_t child = fork();
    if (child != 0) return child;
    for (const auto& [path, number] :
         {std::pair(out, STDOUT_FILENO), std::pair(err, STDERR_FILENO)}) {
      dup2(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), number);
    }
    set_environment();
    execv(argv[0], argv.data());
    _exit(127);
  }

  void set_environment() const {
    setenv("HF_ENDPOINT", endpoint_.c_str(), 1);
    setenv("HF_HOME", (folder_ / "home").c_str(), 1);
    setenv("HF_TOKEN", "secret", 1);
    for (const char* name :
         {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE",
          "http_proxy", "all_proxy", "ALL_PROXY"}) {
      unsetenv(name);
    }
  }

  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), CARAT_TOOL);
    int status = 0;
    waitpid(start(arguments), &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            read_whole(folder_ / "out"), read_whole(folder_ / "err")};
  }

  fs::path repo(const std::string& org) const {
    return folder_ / "home" / "hub" / ("models--" + org + "--m");
  }

  // Every file is a link to a blob of its length, and the ref names the commit.
  void expect_complete(const std::string& org) const {
    const fs::path snapshot = repo(org) / "snapshots" / kCommit;
    EXPECT_EQ(read_whole(repo(org) / "refs" / "main"), kCommit);
    EXPECT_EQ(fs::file_size(snapshot / "model.safetensors"),
              6U * (1 << 20) + 12345);
    EXPECT_EQ(fs::file_size(snapshot / "tokenizer.json"), 1000U);
    EXPECT_FALSE(fs::exists(snapshot / "README.md"));
    for (const auto& file : fs::directory_iterator(snapshot)) {
      ASSERT_TRUE(file.is_symlink());
      EXPECT_TRUE(fs::read_symlink(file).string().starts_with("../../blobs/"));
    }
    for (const auto& blob : fs::directory_iterator(repo(org) / "blobs")) {
      EXPECT_TRUE(blob.path().extension().empty()) << blob.path();
    }
    const std::string sum =
        "sha256sum '" + (snapshot / "model.safetensors").string() +
        "' | grep -q '^" +
        fs::read_symlink(snapshot / "model.safetensors").filename().string() +
        " '";
    EXPECT_EQ(std::system(sum.c_str()), 0);
  }

  fs::path folder_;
  std::string endpoint_;
  pid_t server_ = -1;
};

}  // namespace carat

#endif  // CARAT_TESTS_CLI_HUB_FIXTURE_H_
