#ifndef CHELA_SERVER_ENGINE_PREFIX_STORE_H_
#define CHELA_SERVER_ENGINE_PREFIX_STORE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chela {

// The bytes of a slot of the state pool on the host, shared by who uses them.
using StateBytes = std::shared_ptr<const std::byte[]>;

// Where the prefix cache keeps states that the host has no room for: files,
// say. It works on a thread of its own and tells what has become of a call by
// an Event, so that whoever calls never waits for a disk. A state is named by a
// key that the caller chooses, never 0, never twice.
//
// What it loses is a miss and no error: it says so in an Event, and in the log.
//
// Threads: one caller at a time; Wake runs on a thread of the store.
class PrefixStore {
 public:
  virtual ~PrefixStore() = default;

  // A state of a process before this one, after these tokens.
  struct Found {
    uint64_t key = 0;
    std::string salt;
    std::vector<int32_t> tokens;
    int64_t bytes = 0;  // of the medium
  };
  // The oldest first. Once, before all other calls.
  virtual std::vector<Found> TakeFound() = 0;
  // What it calls when there is an event. Before Write and Read.
  virtual void SetWake(std::function<void()> wake) = 0;

  // The most bytes of the medium that a state after so many tokens takes.
  virtual int64_t MaxBytes(std::string_view salt, size_t tokens) const = 0;
  // Whether Write would take a state now. It does not while too much of
  // earlier ones waits, or for some time after the medium has failed.
  virtual bool Accepts() const = 0;
  // Begins to write; `state` has a slot's bytes. Only if it Accepts.
  virtual void Write(uint64_t key, std::string_view salt,
                     std::vector<int32_t> tokens, StateBytes state) = 0;
  // Begins to read. A state that is still to be written is there at once.
  virtual void Read(uint64_t key) = 0;
  // Begins to remove, before anything that Write begins later is written. No
  // event.
  virtual void Remove(uint64_t key) = 0;

  enum class EventKind { kWritten, kRead, kLost };
  struct Event {
    EventKind kind = EventKind::kLost;
    uint64_t key = 0;
    int64_t bytes = 0;  // kWritten: of the medium
    StateBytes state;   // kRead
  };
  virtual std::vector<Event> TakeEvents() = 0;

  // Blocks until everything that was begun is done, or until `deadline`: false.
  virtual bool WaitIdle(std::chrono::steady_clock::time_point deadline) = 0;
};

}  // namespace chela

#endif  // CHELA_SERVER_ENGINE_PREFIX_STORE_H_
