#include "cli/hub_environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace carat::cli {
namespace {

// As huggingface_hub reads it.
TEST(HubEnvironmentTest, OfflineIsWhatSaysSo) {
  for (const char* value : {"1", "ON", "yes", "True"}) {
    setenv("HF_HUB_OFFLINE", value, 1);
    EXPECT_TRUE(hub_is_offline()) << value;
  }
  for (const char* value : {"", "0", "False", "NO", "Off", "n", "2"}) {
    setenv("HF_HUB_OFFLINE", value, 1);
    EXPECT_FALSE(hub_is_offline()) << value;
  }
  unsetenv("HF_HUB_OFFLINE");
  EXPECT_FALSE(hub_is_offline());
}

}  // namespace
}  // namespace carat::cli
