#include "server/tools/session_flags.h"

#include <CLI/CLI.hpp>
#include <cstdint>

namespace chela {
namespace {

CLI::App& AddVerb(CLI::App& session, SessionCommand& command,
                  const std::string& verb, const std::string& help) {
  CLI::App* app = session.add_subcommand(verb, help);
  app->callback([&command, verb] { command.verb = verb; });
  return *app;
}

void AddSession(CLI::App& app, SessionCommand& command) {
  app.add_option("session", command.session, "Its id")->required();
}

void AddFile(CLI::App& app, SessionCommand& command, const std::string& help) {
  app.add_option("file", command.file, help)->required();
}

// flag: how the new session's id is given.
void AddSettings(CLI::App& app, SessionCommand& command,
                 const std::string& flag) {
  v1::SessionSettings* settings = &command.settings;
  app.add_option_function<std::string>(
      flag, [settings](const std::string& id) { settings->set_id(id); },
      "Id of the new session [a random one]");
  app.add_option_function<std::string>(
      "--user",
      [settings](const std::string& user) { settings->set_user(user); },
      "Whose it is");
  app.add_option_function<int64_t>(
      "--ttl-seconds",
      [settings](int64_t seconds) { settings->set_ttl_seconds(seconds); },
      "Removed after so long without use; 0: never [the server's]");
}

void AddPoint(CLI::App& app, SessionCommand& command, bool required) {
  v1::SessionPoint* point = &command.point;
  CLI::Option_group* group = app.add_option_group("Which of its states");
  group->add_option_function<int64_t>(
      "--revision", [point](int64_t number) { point->set_revision(number); },
      "A kept revision");
  group->add_option_function<std::string>(
      "--checkpoint",
      [point](const std::string& name) { point->set_checkpoint(name); },
      "A named checkpoint");
  if (required) {
    group->require_option(1);
  } else {
    group->require_option(0, 1);
  }
}

}  // namespace

void AddSessionFlags(CLI::App& app, SessionCommand& command) {
  CLI::App* session =
      app.add_subcommand("session", "Texts that the server keeps");
  session->require_subcommand(1);
  session->fallthrough();

  CLI::App& create =
      AddVerb(*session, command, "create", "A new session; prints its id");
  AddSettings(create, command, "id,--id");
  CLI::App& fork = AddVerb(*session, command, "fork",
                           "A copy of a session's state; prints its id");
  AddSession(fork, command);
  AddSettings(fork, command, "--id");
  AddPoint(fork, command, /*required=*/false);
  CLI::App& rewind =
      AddVerb(*session, command, "rewind", "Makes an older state the newest");
  AddSession(rewind, command);
  AddPoint(rewind, command, /*required=*/true);
  CLI::App& remove = AddVerb(*session, command, "delete", "Removes a session");
  AddSession(remove, command);
  CLI::App& list =
      AddVerb(*session, command, "list", "Which sessions there are");
  list.add_option_function<std::string>(
      "--user",
      [&command](const std::string& user) { command.settings.set_user(user); },
      "Only those of this user");
  CLI::App& save = AddVerb(*session, command, "export",
                           "Writes a session's state to a file");
  AddSession(save, command);
  AddFile(save, command, "Where to; replaced if it exists");
  AddPoint(save, command, /*required=*/false);
  CLI::App& load =
      AddVerb(*session, command, "import",
              "A new session from an exported file; prints its id");
  AddFile(load, command, "An exported state");
  AddSettings(load, command, "--id");
}

}  // namespace chela
