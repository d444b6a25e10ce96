#include "backend/cuda/launch_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/cuda/device_error.h"
#include "carat/error.h"

namespace carat::cuda {
namespace {

constexpr size_t kFirstStaging = size_t{1} << 20;
// A kind of chunk may need four: whole, of each lane, and in play_early()'s two
// parts; and a long prompt's block tables grow every 4,096 tokens.
constexpr size_t kMostGraphs = 96;
// Two to three layers: noted in some 10 us, and, down to the 1B, as long at
// work as noting the rest takes.
constexpr size_t kEarlyLaunches = 20;

}  // namespace

LaunchQueue::LaunchQueue(int device, bool overlaps)
    : device_(device), overlaps_(overlaps) {
  bind();
  try {
    make_lane(lanes_[0]);
  } catch (...) {
    free_lanes();
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
  free_lanes();
}

void LaunchQueue::bind() const {
  check(cudaSetDevice(device_), "choosing the device");
}

void LaunchQueue::make_lane(Lane& lane) {
  if (lane.stream == nullptr) {
    check(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking),
          "making a stream");
  }
  if (lane.reached == nullptr) {
    check(cudaEventCreateWithFlags(&lane.reached, cudaEventDisableTiming),
          "making an event");
  }
  if (!lane.staging) {
    lane.staging = std::make_unique<StagingBuffer>(kFirstStaging);
  }
}

void LaunchQueue::free_lanes() noexcept {
  for (Lane& lane : lanes_) {
    lane.staging.reset();
    if (lane.reached != nullptr) cudaEventDestroy(lane.reached);
    if (lane.stream != nullptr) cudaStreamDestroy(lane.stream);
  }
}

// What `lane` is given from now on waits for what `other` was given so far.
void LaunchQueue::follow(const Lane& lane, const Lane& other) {
  check(cudaEventRecord(other.reached, other.stream), "recording an event");
  check(cudaStreamWaitEvent(lane.stream, other.reached, 0),
        "ordering two streams");
}

void LaunchQueue::use_lane(int lane) {
  bind();
  end_passage();
  if (!notes_.empty()) flush();
  if (!uses_lanes_) {
    for (Lane& other : lanes_) {
      make_lane(other);
      if (&other != &lanes_[0]) follow(other, lanes_[0]);
    }
    uses_lanes_ = true;
  }
  lane_ = lane;
}

void LaunchQueue::join_lanes() noexcept {
  if (!uses_lanes_) return;
  try {
    end_passage();
    flush();
    for (const Lane& other : lanes_) {
      if (&other != &lanes_[0]) follow(lanes_[0], other);
    }
  } catch (const Error&) {
    // A failing device says so again at the next call; after other failures
    // what is at work still ends.
    forget();
    for (const Lane& lane : lanes_) cudaStreamSynchronize(lane.stream);
  }
  uses_lanes_ = false;
  lane_ = 0;
}

void LaunchQueue::begin_passage(int place) {
  static_assert(kLanes == 2);  // else: that of the chunk before
  if (!uses_lanes_) return;
  end_passage();
  waits_for_ = passage(place, (lane_ + 1) % kLanes);
  open_ = passage(place, lane_);
}

void LaunchQueue::end_passage() {
  if (open_ == Passages::kNone) return;
  if (!notes_.empty()) {
    notes_.mark(open_);
  } else {  // they are played already
    check(cudaEventRecord(passages_.event(open_), now().stream),
          "marking a passage");
  }
  open_ = waits_for_ = Passages::kNone;
}

void LaunchQueue::make_room(size_t bytes) {
  const size_t used = now().staging->used();
  if (used + bytes <= now().staging->capacity()) return;
  drain();
  now().staging = std::make_unique<StagingBuffer>(
      std::max(2 * now().staging->capacity(), 2 * bytes));
}

const void* LaunchQueue::stage(const void* data, size_t bytes, size_t reserve) {
  const size_t room = std::max(bytes, reserve);
  make_room(StagingBuffer::room_for(room));
  return now().staging->stage(data, bytes, room);
}

void LaunchQueue::take_back() {
  waits_for_ = notes_.take_back();
  --launches_;
}

void LaunchQueue::record(const void* kernel, const LaunchShape& shape,
                         const void* params, size_t bytes) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  allow_shared_memory(kernel, shape.shared_bytes);
  notes_.add(kernel, shape, params, bytes,
             std::exchange(waits_for_, Passages::kNone));
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

LaunchQueue::Graph& LaunchQueue::find_graph() {
  for (auto graph = graphs_.begin(); graph != graphs_.end(); ++graph) {
    if (graph->notes != notes_) continue;
    // To the front: the next step asks for the same.
    std::rotate(graphs_.begin(), graph, graph + 1);
    return graphs_.front();
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
      wait_all();
      check(cudaGraphExecDestroy(oldest->executable), "dropping a graph");
    }
    graphs_.erase(oldest);
  }
  graphs_.push_back({notes_, nullptr, 0});
  return graphs_.back();
}

void LaunchQueue::play() {
  constexpr size_t kWorthAGraph = 8;
  if (notes_.size() < kWorthAGraph) {
    launch_all(false);
    return;
  }
  Graph& graph = find_graph();
  const bool is_first = graph.last_use == 0;
  graph.last_use = ++plays_;
  if (is_first) {
    launch_all(false);
    return;
  }
  if (graph.executable == nullptr) {
    cudaGraph_t captured = capture();
    const cudaError_t made =
        cudaGraphInstantiate(&graph.executable, captured, 0);
    cudaGraphDestroy(captured);
    check(made, "making a graph");
  }
  check(cudaGraphLaunch(graph.executable, now().stream), "launching a graph");
}

cudaGraph_t LaunchQueue::capture() {
  check(cudaStreamBeginCapture(now().stream, cudaStreamCaptureModeThreadLocal),
        "beginning a graph");
  cudaGraph_t captured = nullptr;
  try {
    launch_all(true);
  } catch (...) {
    // Or the stream would go on capturing for ever.
    cudaStreamEndCapture(now().stream, &captured);
    if (captured != nullptr) cudaGraphDestroy(captured);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(now().stream, &captured), "ending a graph");
  return captured;
}

void LaunchQueue::forget() noexcept {
  notes_.clear();
  if (now().staging) now().staging->forget();
  waits_for_ = open_ = Passages::kNone;
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
  now().staging->copy(now().stream);
  if (!notes_.empty()) play();
  notes_.clear();
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
      notes_.size() < kEarlyLaunches) {
    return;
  }
  flush();
  has_played_early_ = true;
}

int64_t LaunchQueue::submit() {
  end_passage();
  flush();
  has_played_early_ = false;
  const cudaEvent_t event = take_event();
  tickets_.push_back({++last_ticket_, event});
  check(cudaEventRecord(event, now().stream), "recording an event");
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

void LaunchQueue::wait_all() {
  for (const Lane& lane : lanes_) {
    if (lane.stream == nullptr) continue;
    check(cudaStreamSynchronize(lane.stream), "waiting for the device");
  }
}

void LaunchQueue::drain() {
  flush();
  wait_all();
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
  if (uses_lanes_) wait_all();
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost,
                        now().stream),
        "reading from the device");
  check(cudaStreamSynchronize(now().stream), "reading from the device");
}

void LaunchQueue::copy_to_device(void* device, const void* host, size_t bytes) {
  flush();
  if (uses_lanes_) wait_all();
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice,
                        now().stream),
        "copying to the device");
  check(cudaStreamSynchronize(now().stream), "copying to the device");
}

void LaunchQueue::zero(void* device, size_t bytes) {
  flush();
  check(cudaMemsetAsync(device, 0, bytes, now().stream), "zeroing memory");
  if (!uses_lanes_) return;
  for (const Lane& other : lanes_) {
    if (&other != &now()) follow(other, now());
  }
}

}  // namespace carat::cuda
