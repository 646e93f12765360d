// What the services of one server share: models, collections, workers, and the list of calls under way.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "service/answerer.h"
#include "service/captioner.h"
#include "service/model_store.h"
#include "service/reranker.h"
#include "service/rpc/collection_store.h"
#include "service/rpc/server.h"
#include "service/rpc/worker_pool.h"
#include "service/text_generator.h"

namespace blazon::service::rpc {

class Call;

// Thread safety: every method may be called from any thread.
class Runtime {
 public:
  // reranker: null for none.
  Runtime(ServerOptions options, ModelStore& models, std::unique_ptr<CollectionStore> collections,
          std::unique_ptr<Reranker> reranker);

  const ServerOptions& options() const { return options_; }
  ModelStore& models() { return models_; }
  CollectionStore& collections() { return *collections_; }
  Captioner& captioner() { return captioner_; }
  Answerer& answerer() { return answerer_; }
  TextGenerator& generator() { return generator_; }
  const Reranker* reranker() const { return reranker_.get(); }  // null: none

  // kResourceExhausted with a time to wait: max_requests are under way; kUnavailable: the server shuts down.
  absl::Status Admit(const std::shared_ptr<Call>& call);
  // One admitted call has ended; it may still be sending.
  void Leave();
  // gRPC is done with the call.
  void Forget(Call* call);
  // Runs `job` on a worker. kResourceExhausted: too many wait.
  absl::Status Enqueue(std::function<void()> job);

  // From now on nothing is admitted.
  void Drain();
  // True when no call is left; false when some were at `until`.
  bool WaitUntilIdle(std::chrono::steady_clock::time_point until);
  // Stops every call.
  void StopAll(const absl::Status& why);
  // Cancels streams whose client has accepted nothing for a minute.
  void CheckProgress();

 private:
  std::vector<std::shared_ptr<Call>> Calls();

  const ServerOptions options_;
  ModelStore& models_;
  std::unique_ptr<CollectionStore> collections_;
  const std::unique_ptr<Reranker> reranker_;
  Captioner captioner_;
  Answerer answerer_;
  TextGenerator generator_;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::map<Call*, std::weak_ptr<Call>> calls_;
  bool draining_ = false;
  std::atomic<int> active_{0};
  WorkerPool pool_;  // last: its jobs use all of the above
};

}  // namespace blazon::service::rpc
