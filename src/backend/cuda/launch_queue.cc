#include "backend/cuda/launch_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/cuda/device_error.h"
#include "carat/error.h"

namespace carat::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kFirstStaging = size_t{1} << 20;
// A kind of chunk may need three: whole, and in play_early()'s two parts.
constexpr size_t kMostGraphs = 96;
// Two to three layers: noted in some 10 us, and, down to the 1B, as long at
// work as noting the rest takes.
constexpr size_t kEarlyLaunches = 20;

size_t aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

LaunchQueue::LaunchQueue(int device, bool overlaps)
    : device_(device), overlaps_(overlaps) {
  bind();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
        "making a stream");
  try {
    make_staging(kFirstStaging);
  } catch (...) {
    free_staging();
    cudaStreamDestroy(stream_);
    throw;
  }
}

LaunchQueue::~LaunchQueue() {
  drain_quietly();
  for (Graph& graph : graphs_) {
    if (graph.executable != nullptr) cudaGraphExecDestroy(graph.executable);
  }
  for (const Ticket& ticket : tickets_) cudaEventDestroy(ticket.event);
  for (cudaEvent_t event : free_events_) cudaEventDestroy(event);
  free_staging();
  cudaStreamDestroy(stream_);
}

void LaunchQueue::bind() const {
  check(cudaSetDevice(device_), "choosing the device");
}

void LaunchQueue::make_staging(size_t bytes) {
  staging_capacity_ = bytes;
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocating the staging buffer");
  device_staging_ = static_cast<std::byte*>(memory);
  for (Slot& slot : slots_) {
    check(cudaMallocHost(&memory, bytes), "allocating pinned memory");
    slot.memory = static_cast<std::byte*>(memory);
    std::memset(slot.memory, 0, bytes);
    check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming),
          "making an event");
  }
}

void LaunchQueue::free_staging() noexcept {
  for (Slot& slot : slots_) {
    if (slot.copied != nullptr) cudaEventDestroy(slot.copied);
    if (slot.memory != nullptr) cudaFreeHost(slot.memory);
    slot = {};
  }
  if (device_staging_ != nullptr) cudaFree(device_staging_);
  device_staging_ = nullptr;
}

void LaunchQueue::make_room(size_t bytes) {
  if (staged_bytes_ + bytes <= staging_capacity_) return;
  drain();
  free_staging();
  make_staging(std::max(2 * staging_capacity_, 2 * bytes));
}

const void* LaunchQueue::stage(const void* data, size_t bytes, size_t reserve) {
  const size_t room = aligned(std::max(bytes, reserve));
  make_room(room);
  Slot& slot = slots_[slot_];
  if (slot.in_use) {
    check(cudaEventSynchronize(slot.copied), "waiting for a staging copy");
    slot.in_use = false;
  }
  for (const Staged& staged : staged_) {
    if (staged.bytes == bytes &&
        std::memcmp(slot.memory + staged.offset, data, bytes) == 0) {
      return device_staging_ + staged.offset;
    }
  }
  const Staged staged{staged_bytes_, bytes};
  std::memcpy(slot.memory + staged.offset, data, bytes);
  staged_.push_back(staged);
  staged_bytes_ += room;
  return device_staging_ + staged.offset;
}

void LaunchQueue::record(const void* kernel, const LaunchShape& shape,
                         const void* params, size_t bytes) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  allow_shared_memory(kernel, shape.shared_bytes);
  const size_t offset = (params_.size() + 63) / 64 * 64;
  params_.resize(offset + bytes);
  std::memcpy(params_.data() + offset, params, bytes);
  records_.push_back({kernel,
                      {shape.grid.x, shape.grid.y, shape.grid.z},
                      shape.threads,
                      shape.shared_bytes,
                      shape.cluster,
                      static_cast<uint32_t>(offset),
                      static_cast<uint32_t>(bytes)});
  ++launches_;
}

// A kernel gets more than 48 KB of shared memory only after asking. All kernels
// ask for the same division between shared memory and cache: a multiprocessor
// changes it only when it is empty, and kernels would not overlap.
void LaunchQueue::allow_shared_memory(const void* kernel, int bytes) {
  constexpr int kGivenAnyway = 48 * 1024;
  const auto [place, is_new] = shared_limits_.try_emplace(kernel, kGivenAnyway);
  if (is_new) {
    check(cudaFuncSetAttribute(kernel,
                               cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared),
          "dividing a kernel's memory");
  }
  if (place->second >= bytes) return;
  check(cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "raising a kernel's shared memory");
  place->second = bytes;
}

void LaunchQueue::launch_all() {
  bool is_first = true;  // behind a copy: nothing to overlap with
  for (const Record& record : records_) {
    void* arguments[] = {params_.data() + record.params_offset};
    cudaLaunchAttribute attributes[2] = {};
    unsigned count = 0;
    if (overlaps_ && !is_first) {
      attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (record.cluster > 1) {
      attributes[count].id = cudaLaunchAttributeClusterDimension;
      attributes[count++].val.clusterDim = {
          1, 1, static_cast<unsigned>(record.cluster)};
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(record.grid[0], record.grid[1], record.grid[2]);
    config.blockDim = dim3(static_cast<unsigned>(record.threads));
    config.dynamicSmemBytes = static_cast<size_t>(record.shared_bytes);
    config.stream = stream_;
    config.attrs = attributes;
    config.numAttrs = count;
    check(cudaLaunchKernelExC(&config, record.kernel, arguments),
          "launching a kernel");
    is_first = false;
  }
}

// Whether what is noted now made this graph.
bool LaunchQueue::is_noted(const Graph& graph) const {
  return graph.params.size() == params_.size() && graph.records == records_ &&
         std::memcmp(graph.params.data(), params_.data(), params_.size()) == 0;
}

LaunchQueue::Graph& LaunchQueue::find_graph() {
  for (Graph& graph : graphs_) {
    if (is_noted(graph)) return graph;
  }
  if (graphs_.size() == kMostGraphs) {
    // One that was seen only once goes first, else the longest unused.
    const auto age = [](const Graph& graph) {
      return std::pair(graph.executable != nullptr, graph.last_use);
    };
    const auto oldest = std::min_element(
        graphs_.begin(), graphs_.end(),
        [&](const Graph& a, const Graph& b) { return age(a) < age(b); });
    if (oldest->executable != nullptr) {
      check(cudaStreamSynchronize(stream_), "waiting for the device");
      check(cudaGraphExecDestroy(oldest->executable), "dropping a graph");
    }
    graphs_.erase(oldest);
  }
  graphs_.push_back({records_, params_, nullptr, 0});
  return graphs_.back();
}

void LaunchQueue::play() {
  constexpr size_t kWorthAGraph = 8;
  if (records_.size() < kWorthAGraph) {
    launch_all();
    return;
  }
  Graph& graph = find_graph();
  const bool is_first = graph.last_use == 0;
  graph.last_use = ++plays_;
  if (is_first) {
    launch_all();
    return;
  }
  if (graph.executable == nullptr) {
    cudaGraph_t captured = capture();
    const cudaError_t made =
        cudaGraphInstantiate(&graph.executable, captured, 0);
    cudaGraphDestroy(captured);
    check(made, "making a graph");
  }
  check(cudaGraphLaunch(graph.executable, stream_), "launching a graph");
}

cudaGraph_t LaunchQueue::capture() {
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
        "beginning a graph");
  cudaGraph_t captured = nullptr;
  try {
    launch_all();
  } catch (...) {
    // Or the stream would go on capturing for ever.
    cudaStreamEndCapture(stream_, &captured);
    if (captured != nullptr) cudaGraphDestroy(captured);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream_, &captured), "ending a graph");
  return captured;
}

void LaunchQueue::forget() noexcept {
  records_.clear();
  params_.clear();
  staged_.clear();
  staged_bytes_ = 0;
  has_played_early_ = false;
}

void LaunchQueue::flush() {
  try {
    flush_notes();
  } catch (...) {
    forget();  // or the next pass would begin with what is left of this one
    throw;
  }
}

void LaunchQueue::flush_notes() {
  ++flushes_;
  bind();
  if (staged_bytes_ > 0) {
    Slot& slot = slots_[slot_];
    check(cudaMemcpyAsync(device_staging_, slot.memory, staged_bytes_,
                          cudaMemcpyHostToDevice, stream_),
          "copying to the device");
    check(cudaEventRecord(slot.copied, stream_), "recording an event");
    slot.in_use = true;
    slot_ = (slot_ + 1) % kSlots;
  }
  staged_.clear();
  staged_bytes_ = 0;
  if (!records_.empty()) play();
  records_.clear();
  params_.clear();
}

cudaEvent_t LaunchQueue::take_event() {
  if (!free_events_.empty()) {
    const cudaEvent_t event = free_events_.back();
    free_events_.pop_back();
    return event;
  }
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
        "making an event");
  return event;
}

void LaunchQueue::play_early() {
  // A chunk that was not waited for may still keep the device busy.
  if (has_played_early_ || !tickets_.empty() ||
      records_.size() < kEarlyLaunches) {
    return;
  }
  flush();
  has_played_early_ = true;
}

int64_t LaunchQueue::submit() {
  flush();
  has_played_early_ = false;
  const cudaEvent_t event = take_event();
  tickets_.push_back({++last_ticket_, event});
  check(cudaEventRecord(event, stream_), "recording an event");
  return last_ticket_;
}

void LaunchQueue::wait(int64_t ticket) {
  if (ticket > last_ticket_) {
    throw Error(ErrorCode::kInvalidArgument,
                "wait: a ticket that was never given");
  }
  bind();
  while (!tickets_.empty() && tickets_.front().number <= ticket) {
    const Ticket oldest = tickets_.front();
    tickets_.pop_front();
    free_events_.push_back(oldest.event);
    check(cudaEventSynchronize(oldest.event), "waiting for the device");
  }
}

void LaunchQueue::drain() {
  flush();
  check(cudaStreamSynchronize(stream_), "waiting for the device");
}

void LaunchQueue::drain_quietly() noexcept {
  try {
    drain();
  } catch (const Error&) {
    forget();
  }
}

void LaunchQueue::copy_from_device(void* host, const void* device,
                                   size_t bytes) {
  flush();
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_),
        "reading from the device");
  check(cudaStreamSynchronize(stream_), "reading from the device");
}

void LaunchQueue::copy_to_device(void* device, const void* host, size_t bytes) {
  flush();
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_),
        "copying to the device");
  check(cudaStreamSynchronize(stream_), "copying to the device");
}

void LaunchQueue::zero(void* device, size_t bytes) {
  flush();
  check(cudaMemsetAsync(device, 0, bytes, stream_), "zeroing memory");
}

}  // namespace carat::cuda
