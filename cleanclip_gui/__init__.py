"""The Qt front end of CleanCLIP GUI; holds no arithmetic."""
