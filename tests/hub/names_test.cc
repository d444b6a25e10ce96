// Names from users and hubs, and which file they mean.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "carat/hub.h"
#include "hub/file_choice.h"
#include "hub/http.h"
#include "hub/paths.h"
#include "hub/repo_listing.h"

namespace carat {
namespace {

TEST(HubNameTest, PartsAreParsed) {
  EXPECT_EQ(parse_hub_name("a/b"), (HubName{"a/b", "main", ""}));
  EXPECT_EQ(parse_hub_name("a/b@refs/pr/1:Q4_K_M"),
            (HubName{"a/b", "refs/pr/1", "Q4_K_M"}));
  EXPECT_EQ(parse_hub_name("gpt2"), (HubName{"gpt2", "main", ""}));
  for (const char* bad : {"", "/b", "a/", "a/b/c", "../b", "a/..", "a--b/c",
                          "a/b@", "a/b@../x", "a/b:", "a b/c", "-a/b"}) {
    EXPECT_THROW(parse_hub_name(bad), Error) << bad;
  }
}

TEST(HubAddressTest, APasswordIsNotShown) {
  EXPECT_EQ(without_user("https://user:pass@word@hub.org:8/a@b"),
            "https://hub.org:8/a@b");
  EXPECT_EQ(without_user("https://hub.org/a@b"), "https://hub.org/a@b");
  EXPECT_EQ(without_user("user:password@hub.org"), "hub.org");
  try {
    clean_endpoint("ftp://user:password@hub.org");
    ADD_FAILURE() << "it is taken";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("password"), std::string::npos)
        << error.what();
  }
}

TEST(HubPathTest, NothingLeavesItsFolder) {
  EXPECT_TRUE(is_safe_path("a/b.c"));
  for (const std::string bad :
       {"", "/a", "a/", "a//b", "..", "a/../b", ".", "a\\b", "a\nb"}) {
    EXPECT_FALSE(is_safe_path(bad)) << bad;
  }
  EXPECT_FALSE(is_safe_path(std::string(256, 'x')));
}

TEST(FileChoiceTest, OneGgufFileIsMeant) {
  const std::vector<std::string> names = {"m-Q4_K_M.gguf", "m-Q4_K_S.gguf",
                                          "m-Q8_0.gguf", "mmproj-m.gguf",
                                          "big/m-F32-00001-of-00002.gguf"};
  EXPECT_EQ(choose_gguf(names, "q8_0", "n"), "m-Q8_0.gguf");
  EXPECT_EQ(choose_gguf(names, "m-Q4_K_S.gguf", "n"), "m-Q4_K_S.gguf");
  EXPECT_EQ(choose_gguf(names, "*k_m*", "n"), "m-Q4_K_M.gguf");
  EXPECT_THROW(choose_gguf(names, "F32", "n"), Error);
  EXPECT_THROW(choose_gguf(names, "Q5", "n"), HubError);
  for (const char* many : {"", "Q4_K"}) {
    try {
      choose_gguf(names, many, "n");
      ADD_FAILURE() << many;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find("m-Q4_K_S.gguf"),
                std::string::npos);
    }
  }
  EXPECT_EQ(
      choose_gguf(std::vector<std::string>{"a.gguf", "mmproj-a.gguf"}, "", "n"),
      "a.gguf");
}

TEST(FileChoiceTest, APartOfANameEndsWhereTheNamesPartsDo) {
  const auto choose = [](const std::string& name, const std::string& pattern,
                         GgufReading reading) -> std::string {
    try {
      return choose_gguf(std::vector<std::string>{name}, pattern, "n", reading);
    } catch (const HubError& error) {
      EXPECT_EQ(error.problem(), HubProblem::kNotFound);
      return "none";
    }
  };
  using enum GgufReading;
  EXPECT_EQ(choose("m-BF16.gguf", "F16", kPart), "none");
  EXPECT_EQ(choose("m-BF16.gguf", "F16.gguf", kPart), "none");
  EXPECT_EQ(choose("m-BF16.gguf", "bf16", kWhole), "m-BF16.gguf");
  EXPECT_EQ(choose("BF16/m.BF16.gguf", "m.bf16.gguf", kWhole),
            "BF16/m.BF16.gguf");
  // Of all of a repository's files, not of those that happen to be there.
  EXPECT_EQ(choose("m-UD-Q6_K_XL.gguf", "Q6_K", kPart), "m-UD-Q6_K_XL.gguf");
  EXPECT_EQ(choose("m-UD-Q6_K_XL.gguf", "Q6_K", kWhole), "none");
  EXPECT_EQ(choose("m-UD-Q6_K_XL.gguf", "*Q6_K*", kWhole), "m-UD-Q6_K_XL.gguf");
  EXPECT_EQ(choose("m-UD-Q6_K_XL.gguf", "q6_k_xl", kWhole),
            "m-UD-Q6_K_XL.gguf");
}

TEST(RepoListingTest, HostileAnswersAreErrors) {
  const std::string sha(40, 'a');
  const auto listing = [&](const std::string& files) {
    return parse_repo_listing(
        R"({"sha":")" + sha + R"(","siblings":[)" + files + "]}", "n");
  };
  EXPECT_EQ(listing(R"({"rfilename":"a","size":3,"blobId":")" + sha + "\"}")
                .find("a")
                ->bytes,
            3);
  EXPECT_EQ(listing(R"({"rfilename":"a"})").files[0].bytes, -1);
  for (const char* bad :
       {R"({"rfilename":"../a"})", R"({"rfilename":"/a"})", R"({})", "3",
        R"({"rfilename":"a"},{"rfilename":"a"})",
        R"({"rfilename":"a","size":-1})", R"({"rfilename":"a","size":1e30})",
        R"({"rfilename":"a","size":18446744073709551615})",
        R"({"rfilename":"a","blobId":"../../x"})",
        R"({"rfilename":"a","lfs":{"sha256":"abc","size":1}})"}) {
    EXPECT_THROW(listing(bad), Error) << bad;
  }
  EXPECT_THROW(parse_repo_listing("{", "n"), Error);
  EXPECT_THROW(parse_repo_listing(R"({"sha":"../x","siblings":[]})", "n"),
               Error);
}

}  // namespace
}  // namespace carat
