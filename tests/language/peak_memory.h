// The most memory that tensors of the CPU held at one time.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>

namespace blazon::language {

// By LibTorch's own reports of what it allocates and lets go.
class PeakMemory : public c10::MemoryReportingInfoBase {
 public:
  // What `work` held at most, in bytes, beyond what was held before it. On this thread and those of its backward
  // passes.
  static int64_t Of(const std::function<void()>& work) {
    const auto peak = std::make_shared<PeakMemory>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, peak);
    work();
    return peak->most_;
  }

  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    held_ += size;
    most_ = std::max(most_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }

 private:
  int64_t held_ = 0, most_ = 0;
};

}  // namespace blazon::language
