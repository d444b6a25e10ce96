// What one kernel may do for two operations, one does: counted launches.
#include <numeric>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device_error.h"
#include "backend/cuda/kernels.h"
#include "tests/cuda/cuda_fixture.h"

namespace carat {
namespace {

class CudaFusion : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    cudaDeviceProp properties;
    cuda::check(cudaGetDeviceProperties(&properties, 0), "asking for traits");
    traits_ = cuda::read_traits(properties);
  }
  const cuda::DeviceTraits& traits() const { return traits_; }
  int64_t launches_of(const std::function<void()>& steps) {
    const int64_t before = count_cuda_launches(cuda());
    steps();
    return count_cuda_launches(cuda()) - before;
  }
  void submit() { cuda().wait(cuda().submit()); }

 private:
  cuda::DeviceTraits traits_;
};

// The 4B's down_proj, whose K is shared among thread blocks.
TEST_F(CudaFusion, ANormJoinsTheSumsOfTheLinearBeforeIt) {
  if (!traits().has_wgmma) GTEST_SKIP() << "K is split on sm_90 alone";
  const int64_t outputs = 2560, cols = 10240;
  const auto weight =
      cuda().pack(RandomWeights(outputs, cols, {4, 32, 8, false}, 7));
  const auto norm = cuda().upload(Floats(static_cast<size_t>(outputs), 1.0f));
  for (const int64_t rows : {64, 128}) {
    SCOPED_TRACE(rows);
    const BackendMatrix x(cuda(), rows, outputs, normals(rows * outputs, 3));
    const BackendMatrix y(cuda(), rows, outputs);
    const BackendMatrix other(cuda(), rows, outputs,
                              normals(rows * outputs, 4));
    const auto input = cuda().make_input(rows, cols);
    input->rows = rows;
    const auto hidden = cuda().make_input(rows, outputs);
    const LinearOutput output{weight.get(), y};
    const auto linear = [&] { cuda().linear(*input, {&output, 1}); };
    const auto add_norm = [&](const BackendMatrix& added) {
      cuda().add_norm(x, added, vector_of(norm), vector_of(norm), 1e-6f,
                      hidden.get());
    };
    submit();
    EXPECT_EQ(launches_of(linear), 2) << "the sums and their join";
    submit();
    EXPECT_EQ(launches_of([&] {
                linear();
                add_norm(y);
              }),
              2)
        << "the norm joins";
    submit();
    EXPECT_EQ(launches_of([&] {
                linear();
                submit();
                add_norm(y);
              }),
              3)
        << "played before the norm was asked for";
    EXPECT_EQ(launches_of([&] {
                linear();
                add_norm(other);
              }),
              3)
        << "the norm of something else";
    submit();
  }
}

class CudaFusedHeads : public CudaFusion,
                       public testing::WithParamInterface<int> {
 protected:
  static int head_dim() { return GetParam(); }
};

TEST_P(CudaFusedHeads, AttentionDoesWhatHeadsAskedForIfRowsAreFew) {
  if (!traits().has_clusters) GTEST_SKIP() << "on sm_90 alone";
  constexpr int kHeads = 8, kKvHeads = 4;
  constexpr int64_t kPositions = 4096;
  const auto kv = cuda().make_kv({1, kKvHeads, head_dim()});
  std::vector<int32_t> ids(kPositions / kBlockTokens);
  std::iota(ids.begin(), ids.end(), 0);
  kv->grow(std::ssize(ids));
  const KvLayer layer{kv.get(), 0, CacheKind::kFull};
  const AttentionShape shape{kHeads, kKvHeads, head_dim(), 1 / 16.0f, 0, 0};
  struct Case {
    int64_t first, rows, together, apart;
  };
  // A decode step, a few rows, the last place that one cluster reaches; beyond
  // it, where blocks are merged by a second kernel; many rows.
  const Case cases[] = {{577, 1, 1, 2},
                        {0, 8, 1, 2},
                        {2047, 1, 1, 2},
                        {3000, 1, 3, 3},
                        {577, 128, 2, 2}};
  for (const Case& c : cases) {
    SCOPED_TRACE(std::to_string(c.rows) + " rows after " +
                 std::to_string(c.first));
    SequenceRows rows{0, c.rows, c.first, {}};
    rows.tables[0] = {ids, 0};
    const auto matrix = [&](int64_t cols) {
      return BackendMatrix(cuda(), c.rows, cols, normals(c.rows * cols, 5));
    };
    const BackendMatrix q = matrix(kHeads * head_dim());
    const BackendMatrix k = matrix(kKvHeads * head_dim());
    const BackendMatrix v = matrix(kKvHeads * head_dim());
    const BackendMatrix angles = matrix(head_dim());
    const auto out = cuda().make_input(c.rows, kHeads * head_dim());
    HeadsInput in;
    in.q = q;
    in.k = k;
    in.v = v;
    in.angles = angles;
    const auto heads = [&] { cuda().heads(in, {&rows, 1}, layer); };
    const auto attention = [&] {
      cuda().attention(q, {&rows, 1}, layer, shape, *out);
    };
    submit();
    EXPECT_EQ(launches_of([&] {
                heads();
                attention();
              }),
              c.together);
    submit();
    EXPECT_EQ(launches_of([&] {
                heads();
                submit();
                attention();
              }),
              c.apart)
        << "played before attention was asked for";
    submit();
  }
}

INSTANTIATE_TEST_SUITE_P(HeadDim, CudaFusedHeads, testing::Values(80, 256));

TEST(CudaLaunches, OfAnotherBackendAreAnError) {
  const auto reference = make_backend({.name = "reference", .threads = 0});
  EXPECT_THROW(count_cuda_launches(*reference), Error);
}

}  // namespace
}  // namespace carat
