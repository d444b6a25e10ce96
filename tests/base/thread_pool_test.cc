#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu_count.h"
#include "carat/error.h"

namespace carat {
namespace {

class ThreadPoolOfSize : public testing::TestWithParam<int> {};

// Plain ints on purpose: a lost or doubled call shows as a wrong count, and a
// missing happens-before edge between rounds shows under ThreadSanitizer.
TEST_P(ThreadPoolOfSize, CallsEveryIndexExactlyOnceInEveryRound) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  std::vector<int> calls(pool.size());
  constexpr int kRounds = 2000;
  for (int round = 1; round <= kRounds; ++round) {
    pool.run([&](int index) { ++calls[index]; });
    for (int index = 0; index < pool.size(); ++index) {
      ASSERT_EQ(calls[index], round) << "index " << index;
    }
  }
}

TEST_P(ThreadPoolOfSize, RunsEachIndexOnItsOwnThread) {
  ThreadPool pool(GetParam());
  std::vector<std::thread::id> first(pool.size());
  pool.run([&](int index) { first[index] = std::this_thread::get_id(); });
  EXPECT_EQ(first[0], std::this_thread::get_id());
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), first.size());
  std::vector<std::thread::id> second(pool.size());
  pool.run([&](int index) { second[index] = std::this_thread::get_id(); });
  EXPECT_EQ(first, second);
}

TEST_P(ThreadPoolOfSize, SplitsARangeIntoEvenContiguousParts) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 64, 1000}) {
    std::vector<int> covered(count);
    std::vector<int64_t> lengths(count);
    pool.for_range(count, [&](int64_t begin, int64_t end) {
      lengths[begin] = end - begin;
      for (int64_t i = begin; i < end; ++i) ++covered[i];
    });
    EXPECT_EQ(covered, std::vector<int>(count, 1));
    int64_t shortest = count, longest = 0;
    for (const int64_t length : lengths) {
      if (length == 0) continue;
      shortest = std::min(shortest, length);
      longest = std::max(longest, length);
    }
    EXPECT_LE(longest - shortest, count == 0 ? 0 : 1) << count;
  }
}

// Workers that went to sleep must wake for the next job.
TEST_P(ThreadPoolOfSize, WakesAfterIdling) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::vector<int> calls(pool.size());
    pool.run([&](int index) { ++calls[index]; });
    EXPECT_EQ(calls, std::vector<int>(pool.size(), 1));
  }
}

// The caller sleeps too when a worker takes long.
TEST_P(ThreadPoolOfSize, WaitsForTheSlowestBody) {
  ThreadPool pool(GetParam());
  for (int slow = 0; slow < pool.size(); ++slow) {
    std::vector<int> done(pool.size());
    pool.run([&](int index) {
      if (index == slow) {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
      }
      done[index] = 1;
    });
    EXPECT_EQ(done, std::vector<int>(pool.size(), 1));
  }
}

TEST_P(ThreadPoolOfSize, ConcurrentCallersTakeTurns) {
  ThreadPool pool(GetParam());
  constexpr int kCallers = 4;
  constexpr int kRounds = 200;
  int shared = 0;  // written by index 0 of every job: jobs must not overlap
  std::vector<std::vector<int>> calls(kCallers, std::vector<int>(pool.size()));
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < kRounds; ++round) {
        pool.run([&](int index) {
          if (index == 0) ++shared;
          ++calls[caller][index];
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(shared, kCallers * kRounds);
  for (const std::vector<int>& each : calls) {
    EXPECT_EQ(each, std::vector<int>(pool.size(), kRounds));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolOfSize, testing::Range(1, 9));

TEST(ThreadPool, WorksOversubscribed) {
  ThreadPool pool(4 * available_cpus() + 3);
  std::vector<int> calls(pool.size());
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    pool.run([&](int index) { ++calls[index]; });
  }
  EXPECT_EQ(calls, std::vector<int>(pool.size(), kRounds));
}

TEST(ThreadPool, DefaultsToTheProcessorsItMayUse) {
  EXPECT_EQ(ThreadPool().size(), available_cpus());
  EXPECT_EQ(ThreadPool(-1).size(), available_cpus());
}

TEST(ThreadPool, StartsAndStopsWithoutWork) {
  for (int round = 0; round < 200; ++round) ThreadPool pool(4);
}

TEST(ThreadPool, AcceptsTemporariesAndConstBodies) {
  ThreadPool pool(2);
  std::atomic<int> calls = 0;
  const auto body = [&](int) { ++calls; };
  pool.run(body);
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 4);
}

TEST(ThreadPool, AnIdlePoolCostsNoProcessorTime) {
  ThreadPool pool(3);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto cpu_seconds = [] {
    rusage usage;
    EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec +
                                      usage.ru_stime.tv_usec);
  };
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  // Spinning would take two workers' 400 ms.
  EXPECT_LT(cpu_seconds() - before, 0.1);
}

// The processor that the calling thread must stay on, or -1.
int only_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  if (CPU_COUNT(&set) != 1) return -1;
  int cpu = 0;
  while (!CPU_ISSET(cpu, &set)) ++cpu;
  return cpu;
}

TEST(ThreadPool, APinnedTeamThatFillsTheMachineHasAProcessorEach) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  const int cpus = CPU_COUNT(&mask);
  // On a thread of its own: the caller is pinned too.
  std::thread([cpus] {
    ThreadPool pool(cpus, true);
    std::vector<int> on(cpus);
    pool.run([&](int index) { on[index] = only_cpu(); });
    EXPECT_EQ(std::count(on.begin(), on.end(), -1), 0);
    EXPECT_EQ(std::set(on.begin(), on.end()).size(), on.size());
  }).join();
}

TEST(ThreadPool, AnyOtherTeamIsNotPinned) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  if (CPU_COUNT(&mask) == 1) GTEST_SKIP() << "there is only one processor";
  for (const int size : {1, CPU_COUNT(&mask) + 1}) {
    std::thread([size] {
      ThreadPool pool(size, true);
      std::vector<int> on(size);
      pool.run([&](int index) { on[index] = only_cpu(); });
      EXPECT_EQ(on, std::vector<int>(size, -1)) << size;
    }).join();
  }
}

// Sanitizers map terabytes of their own, so they leave this test out.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CARAT_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CARAT_SANITIZED
#endif
#endif

#ifndef CARAT_SANITIZED
// In a process of its own, whose address space leaves no room for the stacks.
void start_more_threads_than_fit() {
  const rlimit limit = {size_t{1} << 30, size_t{1} << 30};
  setrlimit(RLIMIT_AS, &limit);
  try {
    ThreadPool pool(1024);
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
    std::exit(error.code() == ErrorCode::kOutOfMemory ? 0 : 2);
  }
  std::exit(1);
}

TEST(ThreadPoolDeathTest, ThreadsThatCannotStartAreAnError) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(start_more_threads_than_fit(), testing::ExitedWithCode(0),
              "cannot start thread [0-9]+ of 1024");
}
#endif

}  // namespace
}  // namespace carat
