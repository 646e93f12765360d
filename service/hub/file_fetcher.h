// Fetches single files of a model into the cache: continues what was begun, tries again, checks size and digest.
//
// Thread safety: one thread at a time; several fetchers, each with a client of its own, may work on one cache, but not
// on files of the same digest.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "service/hub/cache.h"
#include "service/hub/hub_client.h"
#include "service/hub/retries.h"

namespace blazon::service::hub {

class FileFetcher {
 public:
  // All must outlive the fetcher. `options` are those of each file.
  FileFetcher(const HubModel& model, HubClient& hub, const Cache& cache, const RetryOptions& options)
      : model_(model), hub_(hub), cache_(cache), options_(options) {}

  // The content of `file` comes to be in the cache. on_bytes: how many of its bytes are there, again and again; fewer
  // than before where a part was thrown away. fetched: grows by the bytes that came over the network, also when an
  // error is returned. What came until an error stays for the next attempt, but for content with a wrong digest.
  absl::Status Fetch(const HubFile& file, const std::function<void(int64_t there)>& on_bytes, int64_t& fetched);

 private:
  const HubModel& model_;
  HubClient& hub_;
  const Cache& cache_;
  const RetryOptions& options_;
};

}  // namespace blazon::service::hub
