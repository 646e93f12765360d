// Loads a checkpoint and says what it took: blazon_load PATH [DTYPE]. Run by tests/bench/loading.py.
#include <ATen/core/Tensor.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>

#include "service/checkpoint/language_model_loader.h"

namespace {

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

double PeakMegabytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return std::fprintf(stderr, "usage: blazon_load PATH [DTYPE]\n"), 2;
  const auto dtype = blazon::service::ParseDtype(count > 2 ? arguments[2] : "auto");
  if (!dtype.ok()) return std::fprintf(stderr, "%s\n", dtype.status().ToString().c_str()), 2;
  const double before = PeakMegabytes();
  const auto start = std::chrono::steady_clock::now();
  const auto loaded = blazon::service::LoadLanguageModel(arguments[1], {.dtype = *dtype});
  const double load = Seconds(start);
  if (!loaded.ok()) return std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str()), 1;
  const auto digest = loaded->digest.Get();
  if (!digest.ok()) return std::fprintf(stderr, "%s\n", digest.status().ToString().c_str()), 1;
  std::printf("{\"load_s\": %.3f, \"digest_s\": %.3f, \"before_mb\": %.0f, \"peak_mb\": %.0f}\n", load, Seconds(start),
              before, PeakMegabytes());
}
