@echo off
rem make demo / make test for Windows; make demo VIDEO=file is: set VIDEO=file, then make demo
setlocal
set PY=python
where py >nul 2>nul && set PY=py -3
if "%~1"=="demo" if defined VIDEO (
    %PY% "%~dp0scripts\bootstrap.py" demo --video "%VIDEO%"
    exit /b
)
%PY% "%~dp0scripts\bootstrap.py" %*
