// Names of Gloo that c10d's ProcessGroupGloo.hpp uses. LibTorch's wheel has that header and Gloo's code, but not Gloo's
// own headers, so CMakeLists.txt puts this one in their place. Gloo's objects are made and used within LibTorch alone:
// here pointers to them are passed on, and nothing depends on what they look like. For process_group.cc only.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
namespace rendezvous {
class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& data) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};
}  // namespace rendezvous
namespace transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};
}  // namespace transport
}  // namespace gloo
