// A hub on this machine's loopback, for tests: the public HTTP interface of a model hub over files in memory, with
// faults on request, and a record of what was asked.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace blazon::service::hub {

struct Asked {
  std::string target;                          // "/org/name/resolve/main/config.json"
  std::map<std::string, std::string> headers;  // names in lower case
};

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  size_t cut_after = std::string::npos;  // bytes of the body, after which the connection is closed
  std::function<void()> then;            // called when the body was sent, before the connection is closed
};

// An HTTP server on a free port of 127.0.0.1, one request a connection. `answer` is called on a thread of its own for
// each, so several may run at once where a client asks so.
class LoopbackServer {
 public:
  explicit LoopbackServer(std::function<Reply(const Asked&)> answer);
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  std::string address() const;  // "http://127.0.0.1:1234"
  std::vector<Asked> asked() const;
  // How many requests had `part` in their target.
  int Count(std::string_view part) const;
  void Forget();  // what was asked

 private:
  void Serve();
  void Answer(int connection);

  std::function<Reply(const Asked&)> answer_;
  int listener_ = -1;
  std::atomic<bool> ends_ = false;
  mutable std::mutex mutex_;
  std::vector<Asked> asked_;
  std::vector<std::thread> connections_;  // of thread_ alone, until that has ended
  std::thread thread_;
};

std::string Sha256Hex(std::string_view bytes);
std::string GitBlobHex(std::string_view content);

struct HostedFile {
  std::string content;
  bool large = false;  // kept by LFS: named by its SHA-256, and served by the other server
};

// One model on a hub. Large files lie on another server (another port), to which the hub redirects.
class LoopbackHub {
 public:
  LoopbackHub();

  std::string repository = "org/tiny";
  std::string commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, HostedFile> files;
  std::string card = R"({"license": "apache-2.0"})";  // JSON
  std::string gated = "false";                        // JSON
  // May change an answer before it goes out, the storage's too; on the threads of both servers.
  std::function<void(const Asked&, Reply&)> fault;

  LoopbackServer& hub() { return hub_; }
  LoopbackServer& storage() { return storage_; }
  std::string endpoint() const { return hub_.address(); }
  // The answer to /api/models/...
  std::string Listing() const;

 private:
  Reply AnswerHub(const Asked& asked);
  Reply AnswerStorage(const Asked& asked);

  LoopbackServer storage_, hub_;
};

// The bytes of a file; none where there is no such file.
std::string Contents(const std::filesystem::path& path);

}  // namespace blazon::service::hub
