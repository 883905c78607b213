#include "scenario.h"
const struct scenario scenarios_takeover[] = {{0}};
