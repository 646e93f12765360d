#include "tests/service/hub/loopback_hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace blazon::service::hub {
namespace {

std::string Hex(const EVP_MD* kind, std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &length, kind, nullptr);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), length});
}

// False when the other side has gone.
bool Send(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// The whole content, or what a Range header asks for.
Reply Content(const Asked& asked, const std::string& content) {
  Reply reply;
  const auto range = asked.headers.find("range");
  size_t first = 0;
  if (range == asked.headers.end() ||
      !absl::SimpleAtoi(std::string(range->second.substr(6, range->second.size() - 7)), &first)) {
    reply.body = content;
    return reply;
  }
  if (first >= content.size()) return {416, {{"Content-Range", absl::StrCat("bytes */", content.size())}}, "", {}, {}};
  reply.status = 206;
  reply.body = content.substr(first);
  reply.headers.emplace_back("Content-Range",
                             absl::StrCat("bytes ", first, "-", content.size() - 1, "/", content.size()));
  return reply;
}

}  // namespace

std::string Sha256Hex(std::string_view bytes) { return Hex(EVP_sha256(), bytes); }

std::string GitBlobHex(std::string_view content) {
  return Hex(EVP_sha1(), absl::StrCat("blob ", content.size(), std::string(1, '\0'), std::string(content)));
}

LoopbackServer::LoopbackServer(std::function<Reply(const Asked&)> answer) : answer_(std::move(answer)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 16) != 0) {
    std::abort();
  }
  thread_ = std::thread([this] { Serve(); });
}

LoopbackServer::~LoopbackServer() {
  ends_ = true;
  shutdown(listener_, SHUT_RDWR);  // ends the accept
  thread_.join();
  for (std::thread& connection : connections_) connection.join();
  close(listener_);
}

std::string LoopbackServer::address() const {
  sockaddr_in address = {};
  socklen_t size = sizeof address;
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  return absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port));
}

std::vector<Asked> LoopbackServer::asked() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return asked_;
}

int LoopbackServer::Count(std::string_view part) const {
  const std::vector<Asked> all = asked();
  return static_cast<int>(std::count_if(
      all.begin(), all.end(), [&](const Asked& each) { return each.target.find(part) != std::string::npos; }));
}

void LoopbackServer::Forget() {
  const std::lock_guard<std::mutex> lock(mutex_);
  asked_.clear();
}

void LoopbackServer::Serve() {
  while (!ends_) {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    connections_.emplace_back([this, connection] {
      Answer(connection);
      close(connection);
    });
  }
}

void LoopbackServer::Answer(int connection) {
  std::string head;
  char block[4096];
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = recv(connection, block, sizeof block, 0);
    if (got <= 0) return;
    head.append(block, static_cast<size_t>(got));
  }
  Asked asked;
  const std::vector<std::string> lines = absl::StrSplit(head.substr(0, head.find("\r\n\r\n")), "\r\n");
  const std::vector<std::string> request = absl::StrSplit(lines.front(), ' ');
  if (request.size() != 3) return;
  asked.target = request[1];
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<std::string, std::string> header = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    asked.headers[absl::AsciiStrToLower(header.first)] = header.second;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.push_back(asked);
  }
  const Reply reply = answer_(asked);
  std::string text = absl::StrCat("HTTP/1.1 ", reply.status, " Said\r\nConnection: close\r\n");
  bool has_length = false;
  for (const auto& [name, value] : reply.headers) {
    absl::StrAppend(&text, name, ": ", value, "\r\n");
    has_length = has_length || name == "Content-Length" || name == "Transfer-Encoding";
  }
  if (!has_length) absl::StrAppend(&text, "Content-Length: ", reply.body.size(), "\r\n");
  text += "\r\n";
  if (request[0] != "HEAD") text += reply.body.substr(0, reply.cut_after);
  if (Send(connection, text) && reply.then) reply.then();
}

LoopbackHub::LoopbackHub()
    : storage_([this](const Asked& asked) { return AnswerStorage(asked); }),
      hub_([this](const Asked& asked) { return AnswerHub(asked); }) {}

std::string LoopbackHub::Listing() const {
  nlohmann::json siblings = nlohmann::json::array();
  for (const auto& [name, file] : files) {
    nlohmann::json sibling = {{"rfilename", name}, {"size", file.content.size()}, {"blobId", GitBlobHex(file.content)}};
    if (file.large) {
      sibling["lfs"] = {{"sha256", Sha256Hex(file.content)}, {"size", file.content.size()}, {"pointerSize", 134}};
    }
    siblings.push_back(sibling);
  }
  return nlohmann::json({{"id", repository},
                         {"sha", commit},
                         {"gated", nlohmann::json::parse(gated)},
                         {"cardData", nlohmann::json::parse(card)},
                         {"siblings", siblings}})
      .dump();
}

Reply LoopbackHub::AnswerHub(const Asked& asked) {
  Reply reply;
  const std::string resolve = absl::StrCat("/", repository, "/resolve/", commit, "/");
  if (absl::StartsWith(asked.target, absl::StrCat("/api/models/", repository, "/revision/"))) {
    reply.body = Listing();
  } else if (const auto file = absl::StartsWith(asked.target, resolve) ? files.find(asked.target.substr(resolve.size()))
                                                                       : files.end();
             file != files.end()) {
    if (file->second.large) {
      reply = {302,
               {{"Location", absl::StrCat(storage_.address(), "/blobs/", file->first)},
                {"X-Linked-Etag", absl::StrCat("\"", Sha256Hex(file->second.content), "\"")},
                {"X-Linked-Size", absl::StrCat(file->second.content.size())}},
               "",
               std::string::npos,
               {}};
    } else {
      reply = Content(asked, file->second.content);
      reply.headers.emplace_back("ETag", absl::StrCat("\"", GitBlobHex(file->second.content), "\""));
    }
    reply.headers.emplace_back("X-Repo-Commit", commit);
  } else {
    reply = {404, {{"X-Error-Code", "RepoNotFound"}}, "Not found", std::string::npos, {}};
  }
  if (fault) fault(asked, reply);
  return reply;
}

Reply LoopbackHub::AnswerStorage(const Asked& asked) {
  const std::string prefix = "/blobs/";
  const auto file = files.find(asked.target.substr(std::min(prefix.size(), asked.target.size())));
  Reply reply = file == files.end() ? Reply{404, {}, "", std::string::npos, {}} : Content(asked, file->second.content);
  if (fault) fault(asked, reply);
  return reply;
}

std::string Contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace blazon::service::hub
