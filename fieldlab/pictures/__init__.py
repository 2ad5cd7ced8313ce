"""Pictures for people: colors, sheets, video and the paths of cameras."""
