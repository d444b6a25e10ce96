#include "hub/digest.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <vector>

#include "carat/error.h"

namespace carat {
namespace {

void expect_success(int status) {
  if (status != 1) throw std::runtime_error("libcrypto cannot compute a hash");
}

}  // namespace

std::string blob_hash(int file, int64_t bytes, bool large,
                      const std::function<void()>& poll) {
  constexpr size_t kBlock = size_t{1} << 20;
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(
      EVP_MD_CTX_new(), EVP_MD_CTX_free);
  expect_success(EVP_DigestInit_ex(context.get(),
                                   large ? EVP_sha256() : EVP_sha1(), nullptr));
  if (!large) {
    const std::string header = "blob " + std::to_string(bytes);
    expect_success(
        EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1));
  }
  std::vector<char> block(
      std::min(kBlock, static_cast<size_t>(std::max<int64_t>(bytes, 1))));
  for (int64_t offset = 0; offset < bytes;) {
    const auto wanted =
        std::min(static_cast<int64_t>(block.size()), bytes - offset);
    const ssize_t count =
        pread(file, block.data(), static_cast<size_t>(wanted), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw Error(ErrorCode::kCorrupt,
                  "a downloaded file cannot be read back whole");
    }
    expect_success(EVP_DigestUpdate(context.get(), block.data(),
                                    static_cast<size_t>(count)));
    offset += count;
    poll();
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned length = 0;
  expect_success(EVP_DigestFinal_ex(context.get(), digest.data(), &length));
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

}  // namespace carat
