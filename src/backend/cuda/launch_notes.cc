#include "backend/cuda/launch_notes.h"

#include <cstring>

#include "backend/cuda/device_error.h"

namespace carat::cuda {

Passages::~Passages() {
  for (cudaEvent_t event : events_) {
    if (event != nullptr) cudaEventDestroy(event);
  }
}

cudaEvent_t Passages::event(int32_t passage) {
  const auto index = static_cast<size_t>(passage);
  if (index >= events_.size()) events_.resize(index + 1, nullptr);
  if (events_[index] == nullptr) {
    check(cudaEventCreateWithFlags(&events_[index], cudaEventDisableTiming),
          "making an event");
  }
  return events_[index];
}

void LaunchNotes::add(const void* kernel, const LaunchShape& shape,
                      const void* params, size_t bytes, int32_t waits_for) {
  const size_t offset = (params_.size() + 63) / 64 * 64;
  params_.resize(offset + bytes);
  std::memcpy(params_.data() + offset, params, bytes);
  records_.push_back({kernel,
                      {shape.grid.x, shape.grid.y, shape.grid.z},
                      shape.threads,
                      shape.shared_bytes,
                      shape.cluster,
                      static_cast<uint32_t>(offset),
                      static_cast<uint32_t>(bytes),
                      waits_for,
                      Passages::kNone});
}

int32_t LaunchNotes::take_back() {
  const Record last = records_.back();
  params_.resize(last.params_offset);
  records_.pop_back();
  return last.waits_for;
}

void LaunchNotes::clear() {
  records_.clear();
  params_.clear();
}

bool LaunchNotes::operator==(const LaunchNotes& other) const {
  return params_.size() == other.params_.size() && records_ == other.records_ &&
         std::memcmp(params_.data(), other.params_.data(), params_.size()) == 0;
}

void LaunchNotes::play(cudaStream_t stream, Passages& passages, bool overlaps,
                       bool captures) {
  // The event is the queue's, also where a graph names it. A wait is for the
  // record that was played last before it (of graphs: launched; so it is on an
  // H100; CudaLanes would see it), even if that one is played again meanwhile,
  // as from a prompt's third chunk on.
  const unsigned wait_flags = captures ? cudaEventWaitExternal : 0;
  const unsigned record_flags = captures ? cudaEventRecordExternal : 0;
  // Behind a copy or an event there is no kernel to overlap with.
  bool follows_kernel = false;
  for (const Record& record : records_) {
    if (record.waits_for != Passages::kNone) {
      check(cudaStreamWaitEvent(stream, passages.event(record.waits_for),
                                wait_flags),
            "waiting for a passage");
      follows_kernel = false;
    }
    void* arguments[] = {params_.data() + record.params_offset};
    cudaLaunchAttribute attributes[2] = {};
    unsigned count = 0;
    if (overlaps && follows_kernel) {
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
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = count;
    check(cudaLaunchKernelExC(&config, record.kernel, arguments),
          "launching a kernel");
    follows_kernel = record.marks == Passages::kNone;
    if (!follows_kernel) {
      check(cudaEventRecordWithFlags(passages.event(record.marks), stream,
                                     record_flags),
            "marking a passage");
    }
  }
}

}  // namespace carat::cuda
